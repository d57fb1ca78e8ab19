//! Two clusters side by side: no credential of one opens the other, for any kind and any verb.
//!
//! The matrix is generated from the table of kinds, so that a new kind is in it. Each row is tried with every sort of credential of
//! cluster A: against B it gets 401, at B's door, through A's tunnel and at B's tunnel door, and B's store is the same byte for
//! byte afterwards; in A the same row gets through authentication and authorization. The clusters are made by the service
//! itself, and its kubeconfig credential is asked for over its REST API.

use apiserver::bootstrap::BootstrapOptions;
use apiserver::{Listener, Options};
use async_trait::async_trait;
use auth::{Cluster, Directory};
use base::{Clock, ClusterId};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use provider::records::Records;
use provider::{AccessError, ClusterAccess, ClusterDirectory, NewNode, NodeUserData};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use store_api::{Consistency, Range, Span, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tower::ServiceExt;
use tunnel::{Agent, AgentOptions, BoxIo, TunnelServer};
use world::World;

const HOUR: Duration = Duration::from_secs(3600);

/// How the provider reaches clusters here.
struct InWorld {
    server: apiserver::ApiServer,
    clusters: Arc<world::Clusters>,
}

#[async_trait]
impl ClusterAccess for InWorld {
    async fn bootstrap(&self, cluster: &Arc<Cluster>) -> Result<(), AccessError> {
        self.clusters.insert(cluster.clone());
        let done = self
            .server
            .bootstrap(cluster, BootstrapOptions { endpoint: None })
            .await;
        done.map(|_| ()).map_err(|e| AccessError(e.to_string()))
    }
    async fn ready_nodes(&self, _: &Arc<Cluster>) -> Result<Vec<String>, AccessError> {
        Ok(Vec::new())
    }
    async fn delete_node(&self, _: &Arc<Cluster>, _: &str) -> Result<(), AccessError> {
        Ok(())
    }
    fn forget(&self, cluster: &ClusterId) {
        self.clusters.remove(cluster);
        self.server.forget(cluster);
    }
}

struct NoNodes;

impl NodeUserData for NoNodes {
    fn user_data(&self, _: &Cluster, _: &NewNode<'_>) -> Result<Vec<u8>, AccessError> {
        Err(AccessError("there are no machines here".into()))
    }
}

/// What a client shows.
#[derive(Clone)]
enum Shows {
    Certificate { chain: String, key: String },
    Token(String),
}

#[derive(Clone)]
struct Credential {
    sort: &'static str,
    shows: Shows,
    /// Whether it may do everything in its own cluster.
    admin: bool,
}

struct Scene {
    world: World,
    a: Arc<Cluster>,
    b: Arc<Cluster>,
    at: SocketAddr,
    tunnels: TunnelServer,
    rest: axum::Router,
    key: String,
}

async fn rest(router: &axum::Router, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_default())
}

impl Scene {
    async fn new() -> Self {
        let tunnels = TunnelServer::new();
        let options = Options {
            dialer: Some(Arc::new(tunnels.clone())),
            ..Options::default()
        };
        let world = World::on(Clock::system(), options);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let listener = Listener::new(world.server.clone(), socket).tunnels(tunnels.clone());
        tokio::spawn(listener.run(world.shutdown.clone()));

        let store: Arc<dyn Store> = Arc::new(world.store.clone());
        let sim = cloud_sim::SimCloud::new(cloud_sim::Options::default());
        let mut clouds = provider::Clouds::new();
        clouds.insert(service_api::Cloud::Sim, Arc::new(sim));
        let (waker, wakes) = provider::flows::Waker::new();
        let deps = provider::Deps {
            options: provider::Options {
                first_address: Ipv4Addr::new(127, 64, 0, 0),
                addresses: 1 << 16,
                api_port: at.port(),
                default_cloud: service_api::Cloud::Sim,
                default_project: "default".into(),
            },
            store: store.clone(),
            records: Records::new(store),
            directory: Arc::new(ClusterDirectory::new("marina.test")),
            access: Arc::new(InWorld {
                server: world.server.clone(),
                clusters: world.clusters.clone(),
            }),
            user_data: Arc::new(NoNodes),
            images: None,
            clouds,
            node_image: String::new(),
            clock: world.clock.clone(),
            waker,
        };
        let (service, handle) = provider::Service::build(deps, wakes).await.unwrap();
        tokio::spawn(service.run(world.shutdown.clone()));
        let key = handle
            .create_operator_key(jiff::SignedDuration::from_hours(1))
            .await
            .unwrap()
            .secret;
        let router = handle.router(axum::Router::new());
        let mut made = Vec::new();
        for name in ["a", "b"] {
            let path = "/v1/projects/default/clusters";
            let (code, operation) = rest(&router, &key, "POST", path, json!({ "name": name })).await;
            assert_eq!(code, 202, "{operation}");
            let id = operation["id"].as_str().unwrap().to_owned();
            let path = format!("/v1/projects/default/operations/{id}?waitSeconds=30&stage=x");
            let mut state = Value::Null;
            for _ in 0..100 {
                state = rest(&router, &key, "GET", &path, Value::Null).await.1["state"].clone();
                if state == "succeeded" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(state, "succeeded");
            let (_, cluster) = rest(
                &router,
                &key,
                "GET",
                &format!("/v1/projects/default/clusters/{name}"),
                Value::Null,
            )
            .await;
            let id: ClusterId = cluster["id"].as_str().unwrap().parse().unwrap();
            made.push(world.clusters.cluster(&id).unwrap());
        }
        let b = made.pop().unwrap();
        let a = made.pop().unwrap();
        let scene = Self {
            world,
            a,
            b,
            at,
            tunnels,
            rest: router,
            key,
        };
        for cluster in [&scene.a, &scene.b] {
            scene.seed(cluster).await;
        }
        scene
    }

    /// The same objects in both clusters, so that a request that went astray would find something.
    async fn seed(&self, cluster: &Arc<Cluster>) {
        let tenant = self.world.tenant(cluster.clone(), world::admin());
        let name = json!({ "name": "twin" });
        let objects = [
            (
                "/api/v1/namespaces/default/serviceaccounts",
                json!({"metadata": name}),
            ),
            (
                "/api/v1/namespaces/default/serviceaccounts",
                json!({"metadata": {"name": "default"}}),
            ),
            (
                "/api/v1/namespaces/default/configmaps",
                json!({"metadata": name, "data": {"of": cluster.id.as_str()}}),
            ),
            (
                "/api/v1/namespaces/default/secrets",
                json!({"metadata": name, "stringData": {"of": cluster.id.as_str()}}),
            ),
            (
                "/api/v1/nodes",
                json!({"metadata": name, "status": {"addresses": [{"type": "InternalIP", "address": "10.1.2.3"}]}}),
            ),
            (
                "/api/v1/namespaces/default/pods",
                json!({"metadata": name, "spec": {
                    "nodeName": "twin", "serviceAccountName": "twin", "containers": [{"name": "c", "image": "i"}]
                }}),
            ),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
                json!({
                    "metadata": name,
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                    "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": "twin"}],
                }),
            ),
        ];
        for (path, object) in objects {
            tenant.call("POST", path, &[], object.to_string()).await.ok();
        }
    }

    /// One credential of each sort that a cluster gives out.
    async fn credentials(&self, of: &Arc<Cluster>, name: &str) -> Vec<Credential> {
        let now = self.world.clock.now();
        let certificate = |issued: pki::Issued| Shows::Certificate {
            chain: issued.cert_pem(),
            key: issued.key_pem(),
        };
        let admin = of
            .keys
            .issue_client(pki::Subject::new("jane", &[auth::user::MASTERS]), HOUR, now)
            .unwrap();
        let node = of
            .keys
            .issue_client(pki::Subject::node("twin"), HOUR, now)
            .unwrap();
        let tenant = self.world.tenant(of.clone(), world::admin());
        let path = "/api/v1/namespaces/default/serviceaccounts/twin/token";
        let token = tenant.call("POST", path, &[], "{}").await.ok();
        let token = token.str_at(&["status", "token"]).unwrap().to_owned();
        let path = format!("/v1/projects/default/clusters/{name}/credential");
        let (code, plugin) = rest(&self.rest, &self.key, "POST", &path, json!({})).await;
        assert_eq!(code, 200, "{plugin}");
        let text = |field: &str| plugin[field].as_str().unwrap().to_owned();
        vec![
            Credential {
                sort: "client certificate",
                shows: certificate(admin),
                admin: true,
            },
            Credential {
                sort: "service account token",
                shows: Shows::Token(token),
                admin: true,
            },
            Credential {
                sort: "kubeconfig credential",
                shows: Shows::Certificate {
                    chain: text("clientCertificate"),
                    key: text("clientKey"),
                },
                admin: true,
            },
            Credential {
                sort: "node certificate",
                shows: certificate(node),
                admin: false,
            },
        ]
    }

    /// Connects to a cluster's own door.
    async fn connect(&self, to: &Cluster, credential: &Credential) -> Client {
        let tcp = TcpStream::connect(self.at).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Client::over(Box::new(tcp), to, &format!("{}.marina.test", to.id), credential).await
    }

    /// Every key, value and revision of a cluster.
    async fn everything(&self, of: &ClusterId) -> Vec<(Bytes, i64, Bytes)> {
        let range = Range {
            span: Span {
                cluster: of.clone(),
                start: Bytes::from_static(b"/"),
                end: None,
            },
            at: None,
            limit: 0,
            consistency: Consistency::Linearizable,
        };
        let found = self.world.store.range(range).await.unwrap();
        let mut all: Vec<_> = found
            .records
            .iter()
            .map(|r| (r.key.path().clone(), r.mod_revision, r.value.clone()))
            .collect();
        all.push((Bytes::new(), found.revision, Bytes::new()));
        all
    }

    /// A node's agent that keeps a tunnel open to whatever answers at `name`, or tries to.
    fn agent(&self, ca: &str, name: String, credential: &Credential) -> Agent {
        let Shows::Certificate { chain, key } = credential.shows.clone() else {
            panic!("a node has a certificate")
        };
        let ca = ca.to_owned();
        let agent = Agent::new(AgentOptions {
            servers: vec![self.at.to_string()],
            server_name: name.try_into().unwrap(),
            tls: Arc::new(move || {
                let identity = pki::client_identity(&chain, &key).map_err(std::io::Error::other)?;
                pki::client_config(&ca, Some(identity), &[]).map_err(std::io::Error::other)
            }),
            kubelet: "127.0.0.1:1".parse().unwrap(),
            listen: Vec::new(),
        });
        let (running, shutdown) = (agent.clone(), self.world.shutdown.clone());
        tokio::spawn(async move { running.run(shutdown).await });
        agent
    }
}

/// HTTP/2, so that a watch can be left without losing the connection.
struct Client {
    sender: SendRequest<Full<Bytes>>,
    token: Option<String>,
}

impl Client {
    async fn over(io: BoxIo, to: &Cluster, name: &str, credential: &Credential) -> Self {
        let (identity, token) = match &credential.shows {
            Shows::Certificate { chain, key } => (Some(pki::client_identity(chain, key).unwrap()), None),
            Shows::Token(token) => (None, Some(token.clone())),
        };
        let config = pki::client_config(&to.keys.ca_pem, identity, &[b"h2"]).unwrap();
        let name = name.to_owned().try_into().unwrap();
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, io)
            .await
            .unwrap();
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self { sender, token }
    }

    async fn send(&mut self, row: &Row) -> Response<hyper::body::Incoming> {
        let mut request = Request::builder()
            .method(row.method)
            .uri(format!("https://x{}", row.path));
        if !row.content_type.is_empty() {
            request = request.header("content-type", row.content_type);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Full::from(row.body.clone())).unwrap();
        self.sender.ready().await.unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    async fn code_and_text(&mut self, row: &Row) -> (u16, String) {
        let answer = self.send(row).await;
        let code = answer.status().as_u16();
        if row.streams && code == 200 {
            return (code, String::new());
        }
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One request.
struct Row {
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Bytes,
    verb: &'static str,
    streams: bool,
    /// Whether a node would answer it.
    passed_on: bool,
}

/// Every verb of every kind and sub-resource, and the paths that are about no kind. Writes are dry runs, so that the rows
/// can be tried in a cluster that goes on.
fn matrix() -> Vec<Row> {
    let mut rows = Vec::new();
    let streaming = [
        "twin/proxy",
        "twin/log",
        "twin/exec",
        "twin/attach",
        "twin/portforward",
    ];
    let mut row = |method, path: String, content_type, body: String, verb| {
        let passed_on = streaming.iter().any(|s| path.contains(s));
        rows.push(Row {
            method,
            path,
            content_type,
            body: body.into(),
            verb,
            streams: verb == "watch",
            passed_on,
        });
    };
    for r in &api::newest().resources {
        let prefix = if r.group.is_empty() {
            format!("/api/{}", r.version)
        } else {
            format!("/apis/{}/{}", r.group, r.version)
        };
        let scope = if r.namespaced { "/namespaces/default" } else { "" };
        let collection = format!("{prefix}{scope}/{}", r.plural);
        let version = if r.group.is_empty() {
            r.version.to_owned()
        } else {
            format!("{}/{}", r.group, r.version)
        };
        let object = json!({"apiVersion": version, "kind": r.kind, "metadata": {"name": "twin"}}).to_string();
        let subs = r.subresources.iter().map(|s| (s.name, &s.verbs));
        for (sub, verbs) in std::iter::once(("", &r.verbs)).chain(subs) {
            let one = if sub.is_empty() {
                format!("{collection}/twin")
            } else {
                format!("{collection}/twin/{sub}")
            };
            for &verb in verbs {
                let (json, patch, none) = ("application/json", "application/merge-patch+json", String::new());
                match verb {
                    "get" => row("GET", one.clone(), "", none, verb),
                    "list" => row("GET", collection.clone(), "", none, verb),
                    "watch" => row(
                        "GET",
                        format!("{collection}?watch=true&timeoutSeconds=60"),
                        "",
                        none,
                        verb,
                    ),
                    "create" if sub.is_empty() => row(
                        "POST",
                        format!("{collection}?dryRun=All"),
                        json,
                        object.clone(),
                        verb,
                    ),
                    "create" => row("POST", format!("{one}?dryRun=All"), json, "{}".into(), verb),
                    "update" => row("PUT", format!("{one}?dryRun=All"), json, object.clone(), verb),
                    "patch" => row(
                        "PATCH",
                        format!("{one}?dryRun=All"),
                        patch,
                        r#"{"metadata":{"labels":{"a":"b"}}}"#.into(),
                        verb,
                    ),
                    "delete" => row("DELETE", format!("{one}?dryRun=All"), "", none, verb),
                    "deletecollection" => row("DELETE", format!("{collection}?dryRun=All"), "", none, verb),
                    other => panic!("{} has a verb that this matrix does not know: {other}", r.plural),
                }
            }
        }
    }
    for path in [
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps/v1",
        "/openapi/v2",
        "/openapi/v3",
        "/metrics",
        "/nowhere",
    ] {
        row("GET", path.into(), "", String::new(), "get");
    }
    rows
}

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
