//! Two clusters side by side: no credential of one opens the other, for any kind and any verb.
//!
//! The matrix is generated from the table of kinds, so that a new kind is in it. Each row is tried with every sort of credential of
//! cluster A: against B it gets 401, at B's door, through A's tunnel and at B's tunnel door, and B's store is the same byte for
//! byte afterwards; in A the same row gets through authentication and authorization. The clusters are made by the service
//! itself, and its kubeconfig credential is asked for over its REST API.

mod client;
mod matrix;
mod scene;

use base::ClusterId;
use bytes::Bytes;
use client::Client;
use matrix::{Row, matrix};
use scene::{Credential, Scene, Shows, rest};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use store_api::Store;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn refused(code: u16, text: &str) -> bool {
    code == 401 && text.contains("\"reason\":\"Unauthorized\"") && !text.contains("twin")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credential_of_one_cluster_opens_another_for_any_kind_and_verb() {
    let scene = Scene::new().await;
    let rows = matrix();
    assert!(rows.len() > 500, "only {} rows", rows.len());
    let of_a = scene.credentials(&scene.a, "a").await;
    let of_b = scene.credentials(&scene.b, "b").await;
    let before = scene.everything(&scene.b.id).await;
    let watch = std::time::Instant::now();

    // Where a client of A stands: at B's door, and behind A's tunnel with what B gave out.
    for credential in &of_a {
        let mut at_b = scene.connect(&scene.b, credential).await;
        for row in &rows {
            let (code, text) = at_b.code_and_text(row).await;
            let (sort, method, path) = (credential.sort, row.method, &row.path);
            assert!(
                refused(code, &text),
                "{sort} of A at B: {method} {path}: {code} {text}"
            );
        }
    }
    assert_eq!(
        before,
        scene.everything(&scene.b.id).await,
        "B is as it was, byte for byte"
    );

    println!(
        "{} rows refused {} times in {:?}",
        rows.len(),
        of_a.len(),
        watch.elapsed()
    );

    // The positive twins: the same rows, the same credentials, in their own cluster.
    for credential in &of_a {
        let mut at_a = scene.connect(&scene.a, credential).await;
        let mut wrong = Vec::new();
        for row in &rows {
            let (code, text) = at_a.code_and_text(row).await;
            let good = match (credential.admin, row.verb) {
                _ if code == 401 => false,
                (false, _) => true,
                (true, "list" | "watch") => code == 200,
                // There is no kubelet behind the node: what is passed on to it fails after it was let through.
                (true, _) if row.passed_on => code != 403,
                (true, _) => code != 403 && code < 500,
            };
            if !good {
                wrong.push(format!(
                    "{} of A at A: {} {}: {code} {text}",
                    credential.sort, row.method, row.path
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    for (credential, at) in [
        (&of_a[0], &scene.a),
        (&of_a[1], &scene.a),
        (&of_b[0], &scene.b),
        (&of_b[2], &scene.b),
    ] {
        let mut client = scene.connect(at, credential).await;
        let name = format!("by-{}", credential.sort.replace(' ', "-"));
        let mut row = Row {
            method: "POST",
            path: "/api/v1/namespaces/default/configmaps".into(),
            content_type: "application/json",
            body: json!({"metadata": {"name": name}}).to_string().into(),
            verb: "create",
            streams: false,
            passed_on: false,
        };
        assert_eq!(client.code_and_text(&row).await.0, 201);
        (row.method, row.path) = ("GET", "/api/v1/namespaces/default/secrets/twin".into());
        let (code, text) = client.code_and_text(&row).await;
        assert!(code == 200 && text.contains("twin"), "{code} {text}");
    }
    let row = Row {
        method: "GET",
        path: "/api/v1/nodes/twin".into(),
        content_type: "",
        body: Bytes::new(),
        verb: "get",
        streams: false,
        passed_on: false,
    };
    let (code, text) = scene.connect(&scene.a, &of_a[3]).await.code_and_text(&row).await;
    assert_eq!(code, 200, "a node sees itself: {text}");
    scene.world.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_and_the_etcd_door_know_their_own_cluster_alone() {
    let scene = Scene::new().await;
    let of_a = scene.credentials(&scene.a, "a").await;
    let of_b = scene.credentials(&scene.b, "b").await;
    let before = scene.everything(&scene.b.id).await;

    // A node of A finds a tunnel at its own cluster, and none at B, whatever name and CA it uses.
    let own = scene.agent(
        &scene.a.keys.ca_pem,
        format!("{}.marina.test", scene.a.id),
        &of_a[3],
    );
    let foreign = scene.agent(
        &scene.b.keys.ca_pem,
        format!("{}.marina.test", scene.b.id),
        &of_a[3],
    );
    let admin = scene.agent(
        &scene.a.keys.ca_pem,
        format!("{}.marina.test", scene.a.id),
        &of_a[0],
    );
    tokio::time::timeout(Duration::from_secs(10), own.connected())
        .await
        .expect("a node's tunnel");
    for _ in 0..200 {
        if !scene.tunnels.nodes(&scene.a.id).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        scene.tunnels.nodes(&scene.a.id),
        ["twin"],
        "a node's, and not an administrator's"
    );
    assert!(scene.tunnels.nodes(&scene.b.id).is_empty());
    drop((foreign, admin));

    // Inside A's tunnel everything is A: B's credentials are worth nothing there, for any kind and verb.
    let rows = matrix();
    for credential in &of_b {
        let io = own.api_server().await.unwrap();
        let mut inside = Client::over(io, &scene.a, "kubernetes.default.svc", credential).await;
        for row in rows.iter().step_by(7) {
            let (code, text) = inside.code_and_text(row).await;
            assert!(
                refused(code, &text),
                "{} of B in A's tunnel: {} {}: {code}",
                credential.sort,
                row.method,
                row.path
            );
        }
    }
    let io = own.api_server().await.unwrap();
    let mut inside = Client::over(io, &scene.a, "kubernetes.default.svc", &of_a[1]).await;
    let list = rows
        .iter()
        .find(|r| r.path == "/api/v1/namespaces/default/pods")
        .unwrap();
    assert_eq!(
        inside.code_and_text(list).await.0,
        200,
        "its own credential works there"
    );
    assert_eq!(before, scene.everything(&scene.b.id).await);

    // No certificate for an API server names a cluster at the etcd door, which has a CA of its own besides.
    for credential in of_a.iter().chain(&of_b) {
        if let Shows::Certificate { chain, key } = &credential.shows {
            let (chain, _) = pki::client_identity(chain, key).unwrap();
            let found = etcd_door::identity::cluster_of(&chain[0]);
            assert_eq!(
                found,
                Err(etcd_door::identity::IdentityError::NoCluster),
                "{}",
                credential.sort
            );
        }
    }
    scene.world.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_reaches_its_own_project_and_opens_no_api_server() {
    let scene = Scene::new().await;
    let (code, _) = rest(
        &scene.rest,
        &scene.key,
        "POST",
        "/v1/projects",
        json!({"name": "other"}),
    )
    .await;
    assert!(code < 300, "{code}");
    let (code, made) = rest(
        &scene.rest,
        &scene.key,
        "POST",
        "/v1/projects/other/apiKeys",
        json!({"description": ""}),
    )
    .await;
    assert_eq!(code, 201, "{made}");
    let other = made["secret"].as_str().unwrap();
    let before = scene.everything(&ClusterId::management()).await;
    for (method, rest_of_path) in [
        ("GET", "clusters"),
        ("POST", "clusters"),
        ("GET", "clusters/a"),
        ("DELETE", "clusters/a"),
        ("GET", "clusters/a/kubeconfig"),
        ("GET", "clusters/a/kubeconfig?embed=true"),
        ("POST", "clusters/a/credential"),
        ("GET", "clusters/a/nodePools"),
        ("POST", "clusters/a/nodePools"),
        ("GET", "operations"),
        ("GET", "apiKeys"),
        ("POST", "apiKeys"),
    ] {
        let path = format!("/v1/projects/default/{rest_of_path}");
        let body = json!({"name": "x", "nodes": 1, "description": ""});
        let (code, answer) = rest(&scene.rest, other, method, &path, body).await;
        assert_eq!(code, 404, "{method} {path}: {answer}");
        assert!(
            answer["message"].as_str().unwrap().contains("project"),
            "{answer}"
        );
    }
    assert_eq!(before, scene.everything(&ClusterId::management()).await);
    assert_eq!(
        rest(
            &scene.rest,
            other,
            "GET",
            "/v1/projects/other/clusters",
            Value::Null
        )
        .await
        .0,
        200
    );
    assert_eq!(
        rest(&scene.rest, other, "GET", "/metrics", Value::Null).await.0,
        404,
        "no operator routes here"
    );

    // The service's key is not a cluster's credential, not even the operator's.
    for key in [other, &scene.key] {
        let credential = Credential {
            sort: "API key",
            shows: Shows::Token(key.to_owned()),
            admin: false,
        };
        let mut client = scene.connect(&scene.a, &credential).await;
        let (code, text) = client.code_and_text(&matrix()[0]).await;
        assert!(refused(code, &text), "{code} {text}");
    }
    scene.world.shutdown.trigger();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_cluster_leaves_nothing_but_the_record_of_its_deletion() {
    let scene = Scene::new().await;
    let of_b = scene.credentials(&scene.b, "b").await;
    let mut client = scene.connect(&scene.b, &of_b[0]).await;
    let list = Row {
        method: "GET",
        path: "/api/v1/namespaces/default/secrets/twin".into(),
        content_type: "",
        body: Bytes::new(),
        verb: "get",
        streams: false,
        passed_on: false,
    };
    assert_eq!(client.code_and_text(&list).await.0, 200);
    let label = format!("cluster=\"{}\"", scene.b.id);
    assert!(scene.world.server.metrics_text().contains(&label));
    let path = "/v1/projects/default/clusters/b";
    assert_eq!(
        rest(&scene.rest, &scene.key, "DELETE", path, Value::Null).await.0,
        202
    );
    for _ in 0..500 {
        if rest(&scene.rest, &scene.key, "GET", path, Value::Null).await.0 == 404 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        rest(&scene.rest, &scene.key, "GET", path, Value::Null).await.0,
        404
    );
    // A connection that is still open finds no cluster behind it, and a new one no name.
    assert_eq!(client.code_and_text(&list).await.0, 404);
    let config = pki::client_config(&scene.b.keys.ca_pem, None, &[b"h2"]).unwrap();
    let tcp = TcpStream::connect(scene.at).await.unwrap();
    let name = format!("{}.marina.test", scene.b.id).try_into().unwrap();
    let alert = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        alert.contains("UnrecognizedName") || alert.contains("UnrecognisedName"),
        "{alert}"
    );
    assert!(!scene.world.server.metrics_text().contains(&label));
    assert!(!scene.world.store.clusters().await.unwrap().contains(&scene.b.id));
    let id = scene.b.id.as_str().as_bytes();
    for (key, _, value) in scene.everything(&ClusterId::management()).await {
        let told = [&key, &value]
            .into_iter()
            .any(|bytes| bytes.windows(id.len()).any(|w| w == id));
        assert!(!told, "{key:?} still tells of the cluster");
    }
    let (_, a) = rest(
        &scene.rest,
        &scene.key,
        "GET",
        "/v1/projects/default/clusters/a",
        Value::Null,
    )
    .await;
    assert_eq!(a["status"]["state"], "active", "{a}");
    scene.world.shutdown.trigger();
}
