//! The verbs on objects, as a client sees them.

use machinery::{Value, value};
use std::time::Duration;
use world::{Tenant, World};

fn config_map(name: &str) -> Value {
    value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": (name.to_owned())}, "data": {"a": "1"}})
}

fn pod(name: &str) -> Value {
    value!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": (name.to_owned()), "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 30}
    })
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn tenant() -> (World, Tenant) {
    let world = World::new();
    let tenant = world.cluster("a").await;
    (world, tenant)
}

#[tokio::test(start_paused = true)]
async fn an_object_is_created_read_changed_and_deleted() {
    let (_world, t) = tenant().await;
    let created = t.post(MAPS, &config_map("x")).await;
    assert_eq!(created.code, 201, "{created:?}");
    let created = created.ok();
    assert_eq!(
        created.str_at(&["metadata", "creationTimestamp"]),
        Some("2026-01-01T00:00:00Z")
    );
    assert_eq!(t.get(&format!("{MAPS}/x")).await.ok(), created);

    let again = t.post(MAPS, &config_map("x")).await;
    assert_eq!(
        (again.code, again.message()),
        (409, "configmaps \"x\" already exists".into())
    );

    let mut changed = created.clone();
    changed.at_mut(&["data"]).insert("a", "2");
    let changed = t.put(&format!("{MAPS}/x"), &changed).await.ok();
    assert_eq!(changed.str_at(&["data", "a"]), Some("2"));
    let stale = t.put(&format!("{MAPS}/x"), &created).await;
    assert_eq!(
        (stale.code, stale.message()),
        (
            409,
            "Operation cannot be fulfilled on configmaps \"x\": the object has been modified; please apply your \
             changes to the latest version and try again"
                .into()
        )
    );

    let same = t.put(&format!("{MAPS}/x"), &changed).await.ok();
    assert_eq!(
        same.str_at(&["metadata", "resourceVersion"]),
        changed.str_at(&["metadata", "resourceVersion"])
    );

    let merged = t
        .patch(&format!("{MAPS}/x"), "merge", &value!({"data": {"b": "3"}}))
        .await
        .ok();
    assert_eq!(
        (merged.str_at(&["data", "a"]), merged.str_at(&["data", "b"])),
        (Some("2"), Some("3"))
    );

    let deleted = t.delete(&format!("{MAPS}/x")).await.ok();
    assert_eq!(deleted.str_at(&["status"]), Some("Success"));
    let gone = t.get(&format!("{MAPS}/x")).await;
    assert_eq!(
        (gone.code, gone.reason(), gone.message()),
        (404, "NotFound".into(), "configmaps \"x\" not found".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_neighbour_sees_nothing() {
    let world = World::new();
    let (a, b) = (world.cluster("a").await, world.cluster("b").await);
    a.post(MAPS, &config_map("x")).await.ok();
    assert_eq!(b.get(&format!("{MAPS}/x")).await.code, 404);
    assert_eq!(
        b.get("/api/v1/configmaps").await.ok().list_at(&["items"]).len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn lists_are_paged_at_one_revision() {
    let (_world, t) = tenant().await;
    for i in 0..5 {
        t.post(MAPS, &config_map(&format!("m{i}"))).await.ok();
    }
    let first = t.get(&format!("{MAPS}?limit=2")).await.ok();
    assert_eq!(first.list_at(&["items"]).len(), 2);
    assert_eq!(first.int_at(&["metadata", "remainingItemCount"]), Some(3));
    t.delete(&format!("{MAPS}/m4")).await.ok();
    let token = first.str_at(&["metadata", "continue"]).expect("there is more");
    let rest = t.get(&format!("{MAPS}?limit=10&continue={token}")).await.ok();
    let names: Vec<_> = rest
        .list_at(&["items"])
        .iter()
        .filter_map(|i| i.str_at(&["metadata", "name"]))
        .collect();
    assert_eq!(names, ["m2", "m3", "m4"]);
    assert_eq!(
        rest.str_at(&["metadata", "resourceVersion"]),
        first.str_at(&["metadata", "resourceVersion"])
    );
    assert!(rest.at(&["metadata", "continue"]).is_null());
}

#[tokio::test(start_paused = true)]
async fn a_watch_follows_objects_into_and_out_of_its_selection() {
    let (_world, t) = tenant().await;
    let list = t.get(MAPS).await.ok();
    let from = list
        .str_at(&["metadata", "resourceVersion"])
        .expect("a list has a version")
        .to_owned();
    let mut watch = t
        .watch(&format!(
            "{MAPS}?watch=true&resourceVersion={from}&labelSelector=on%3Dyes"
        ))
        .await;
    assert_eq!(watch.code, 200);
    t.post(MAPS, &config_map("x")).await.ok();
    let label = |v: Value| value!({"metadata": {"labels": {"on": v}}});
    t.patch(&format!("{MAPS}/x"), "merge", &label("yes".into()))
        .await
        .ok();
    t.patch(&format!("{MAPS}/x"), "merge", &value!({"data": {"z": "1"}}))
        .await
        .ok();
    t.patch(&format!("{MAPS}/x"), "merge", &label("no".into()))
        .await
        .ok();
    t.patch(&format!("{MAPS}/x"), "merge", &label("yes".into()))
        .await
        .ok();
    t.delete(&format!("{MAPS}/x")).await.ok();
    for want in ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"] {
        assert_eq!(watch.step().await, Some((want.to_owned(), "x".to_owned())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_list_begins_with_the_state_and_a_marked_bookmark() {
    let (_world, t) = tenant().await;
    t.post(MAPS, &config_map("x")).await.ok();
    let query =
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = t.watch(&format!("{MAPS}?{query}&timeoutSeconds=120")).await;
    assert_eq!(watch.step().await, Some(("ADDED".into(), "x".into())));
    let bookmark = watch.next().await.expect("a bookmark");
    assert_eq!(bookmark.str_at(&["type"]), Some("BOOKMARK"));
    let mark = bookmark.str_at(&["object", "metadata", "annotations", "k8s.io/initial-events-end"]);
    assert_eq!(mark, Some("true"));
    // Nothing happens: a minute later there is a bookmark, and after two the watch ends.
    let later = watch.next().await.expect("another bookmark");
    assert_eq!(later.str_at(&["type"]), Some("BOOKMARK"));
    while let Some(event) = watch.next().await {
        assert_eq!(event.str_at(&["type"]), Some("BOOKMARK"));
    }
}

#[tokio::test(start_paused = true)]
async fn history_that_was_compacted_is_410() {
    let (world, t) = tenant().await;
    for i in 0..3 {
        t.post(MAPS, &config_map(&format!("m{i}"))).await.ok();
    }
    let token = t.get(&format!("{MAPS}?limit=1")).await.ok();
    let token = token
        .str_at(&["metadata", "continue"])
        .expect("there is more")
        .to_owned();
    t.delete(&format!("{MAPS}/m2")).await.ok();
    let now = t
        .get(MAPS)
        .await
        .ok()
        .str_at(&["metadata", "resourceVersion"])
        .and_then(|v| v.parse().ok())
        .expect("a number");
    store_api::Store::compact(&world.store, t.id(), now)
        .await
        .expect("compaction works");
    let expired = t.get(&format!("{MAPS}?limit=1&continue={token}")).await;
    assert_eq!((expired.code, expired.reason()), (410, "Expired".into()));
    let token = expired
        .json()
        .str_at(&["metadata", "continue"])
        .expect("a way on")
        .to_owned();
    let on = t.get(&format!("{MAPS}?continue={token}")).await.ok();
    assert_eq!(on.list_at(&["items"]).len(), 1);
    let mut watch = t.watch(&format!("{MAPS}?watch=true&resourceVersion=2")).await;
    let event = watch.next().await.expect("an error event");
    assert_eq!(
        (event.str_at(&["type"]), event.int_at(&["object", "code"])),
        (Some("ERROR"), Some(410))
    );
    assert!(watch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_dies_at_once_and_one_with_a_node_gracefully() {
    let (_world, t) = tenant().await;
    t.post(PODS, &pod("free")).await.ok();
    t.delete(&format!("{PODS}/free")).await.ok();
    assert_eq!(t.get(&format!("{PODS}/free")).await.code, 404);

    t.post(PODS, &pod("bound")).await.ok();
    let binding = value!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(t.post(&format!("{PODS}/bound/binding"), &binding).await.code, 201);
    let again = t.post(&format!("{PODS}/bound/binding"), &binding).await;
    assert_eq!(again.code, 409);

    let selected = t
        .get(&format!("{PODS}?fieldSelector=spec.nodeName%3Dn1"))
        .await
        .ok();
    assert_eq!(selected.list_at(&["items"]).len(), 1);
    let dying = t.delete(&format!("{PODS}/bound")).await.ok();
    assert_eq!(
        dying.int_at(&["metadata", "deletionGracePeriodSeconds"]),
        Some(30)
    );
    assert_eq!(
        dying.str_at(&["metadata", "deletionTimestamp"]),
        Some("2026-01-01T00:00:30Z")
    );
    assert_eq!(t.get(&format!("{PODS}/bound")).await.code, 200);
    t.delete(&format!("{PODS}/bound?gracePeriodSeconds=0")).await.ok();
    assert_eq!(t.get(&format!("{PODS}/bound")).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_an_object_until_it_is_taken_away() {
    let (_world, t) = tenant().await;
    let mut map = config_map("x");
    map.at_mut(&["metadata"])
        .insert("finalizers", vec![Value::from("example.org/hold")]);
    t.post(MAPS, &map).await.ok();
    t.delete(&format!("{MAPS}/x")).await.ok();
    let held = t.get(&format!("{MAPS}/x")).await.ok();
    assert!(!held.at(&["metadata", "deletionTimestamp"]).is_null());
    t.patch(
        &format!("{MAPS}/x"),
        "merge",
        &value!({"metadata": {"finalizers": null}}),
    )
    .await
    .ok();
    assert_eq!(t.get(&format!("{MAPS}/x")).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_collection_is_answered_as_the_list_that_it_was() {
    let (_world, t) = tenant().await;
    for name in ["x", "y"] {
        t.post(MAPS, &config_map(name)).await.ok();
    }
    let selected = format!("{MAPS}?fieldSelector=metadata.name%3Dx");
    let listed = t.get(&selected).await.ok();
    let deleted = t.delete(&selected).await.ok();
    let at = |list: &Value| list.str_at(&["metadata", "resourceVersion"]).map(str::to_owned);
    assert!(at(&listed).is_some_and(|version| version != "0"));
    assert_eq!(at(&deleted), at(&listed));
    let names = deleted
        .list_at(&["items"])
        .iter()
        .map(|i| i.str_at(&["metadata", "name"]));
    assert_eq!(names.collect::<Vec<_>>(), [Some("x")]);
    assert_eq!(t.get(&format!("{MAPS}/x")).await.code, 404);
    assert_eq!(t.get(&format!("{MAPS}/y")).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_when_its_content_has() {
    let (_world, t) = tenant().await;
    t.post(
        "/api/v1/namespaces",
        &value!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
    )
    .await
    .ok();
    let dying = t.delete("/api/v1/namespaces/n").await.ok();
    assert_eq!(dying.str_at(&["status", "phase"]), Some("Terminating"));
    let mut last = t.get("/api/v1/namespaces/n").await.ok();
    last.at_mut(&["spec"]).remove("finalizers");
    t.put("/api/v1/namespaces/n/finalize", &last).await.ok();
    assert_eq!(t.get("/api/v1/namespaces/n").await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn protobuf_and_tables_are_served() {
    let (_world, t) = tenant().await;
    t.post(MAPS, &config_map("x")).await.ok();
    let pb = [("accept", "application/vnd.kubernetes.protobuf")];
    let one = t.call("GET", &format!("{MAPS}/x"), &pb, "").await;
    assert!(one.bytes.starts_with(b"k8s\0"));
    let list = t.call("GET", MAPS, &pb, "").await;
    let (_, tree) = machinery::codec::proto::decode(&list.bytes, t_catalog()).expect("a ConfigMapList");
    assert_eq!(tree.str_at(&["kind"]), Some("ConfigMapList"));
    assert_eq!(tree.list_at(&["items"]).len(), 1);
    // What was read in protobuf can be written back.
    let put = [("content-type", "application/vnd.kubernetes.protobuf")];
    assert_eq!(
        t.call("PUT", &format!("{MAPS}/x"), &put, one.bytes.clone())
            .await
            .code,
        200
    );

    let table = [(
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    )];
    let table = t.call("GET", MAPS, &table, "").await.ok();
    assert_eq!(table.str_at(&["kind"]), Some("Table"));
    assert_eq!(table.at(&["rows"])[0]["cells"][0].as_str(), Some("x"));
    let meta = [(
        "accept",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )];
    let meta = t.call("GET", MAPS, &meta, "").await.ok();
    assert_eq!(meta.str_at(&["kind"]), Some("PartialObjectMetadataList"));
    assert!(meta.at(&["items"])[0]["data"].is_null());
}

fn t_catalog() -> &'static machinery::Catalog {
    api::newest()
}

#[tokio::test(start_paused = true)]
async fn services_get_addresses_and_ports_that_nobody_else_has() {
    let (_world, t) = tenant().await;
    let path = "/api/v1/namespaces/default/services";
    let service = |name: &str, ip: &str, port: i64| {
        let mut s = value!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": (name.to_owned())},
            "spec": {"type": "NodePort", "selector": {"app": "x"}, "ports": [{"port": 80}]}
        });
        if !ip.is_empty() {
            s.at_mut(&["spec"]).insert("clusterIP", ip.to_owned());
        }
        if port > 0 {
            s.at_mut(&["spec"])
                .insert("ports", value!([{"port": 80, "nodePort": port}]));
        }
        s
    };
    let a = t.post(path, &service("a", "", 0)).await.ok();
    let ip = a.str_at(&["spec", "clusterIP"]).expect("an address").to_owned();
    assert!(ip.starts_with("10.96."), "{ip}");
    let port = a.at(&["spec", "ports"])[0]["nodePort"].as_i64().expect("a port");
    assert!((30_000..=32_767).contains(&port));
    let taken = t.post(path, &service("b", &ip, 0)).await;
    assert_eq!(taken.code, 422, "{}", taken.message());
    let taken = t.post(path, &service("b", "", port)).await;
    assert!(
        taken.message().contains("provided port is already allocated"),
        "{}",
        taken.message()
    );
    assert_eq!(
        t.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
            .await
            .code,
        200
    );
    t.delete(&format!("{path}/a")).await.ok();
    assert_eq!(
        t.get(&format!("/apis/networking.k8s.io/v1/ipaddresses/{ip}"))
            .await
            .code,
        404
    );
    t.post(path, &service("b", &ip, port)).await.ok();
}

#[tokio::test(start_paused = true)]
async fn errors_are_those_of_kubernetes() {
    let (_world, t) = tenant().await;
    let unknown = t.get("/apis/example.org/v1/things").await;
    assert_eq!(
        (unknown.code, &unknown.bytes[..]),
        (404, &b"404 page not found\n"[..])
    );
    let bad = t
        .post(
            &format!("{MAPS}?fieldValidation=Strict"),
            &value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dat": {}}),
        )
        .await;
    assert_eq!(bad.code, 400);
    assert!(
        bad.message()
            .contains("strict decoding error: unknown field \"dat\""),
        "{}",
        bad.message()
    );
    let warned = t
        .post(
            &format!("{MAPS}?dryRun=All"),
            &value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dat": {}}),
        )
        .await;
    assert_eq!(
        warned.headers.get("warning").and_then(|v| v.to_str().ok()),
        Some("299 - \"unknown field \\\"dat\\\"\"")
    );
    assert_eq!(t.get(&format!("{MAPS}/x")).await.code, 404);
    let media = t
        .call("POST", MAPS, &[("content-type", "application/cbor")], "x")
        .await;
    assert_eq!((media.code, media.reason()), (415, "UnsupportedMediaType".into()));
    let user = t.as_user(auth::User::in_process("u"));
    let forbidden = user.get(PODS).await;
    assert_eq!(
        (forbidden.code, forbidden.message()),
        (403, "pods is forbidden: User \"u\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"".into())
    );
    let future = t.get(&format!("{MAPS}?resourceVersion=999999999")).await;
    assert_eq!((future.code, future.reason()), (504, "Timeout".into()));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_forgotten_after_an_hour() {
    let (_world, t) = tenant().await;
    let path = "/api/v1/namespaces/default/events";
    let event = value!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Started", "message": "it did", "type": "Normal"
    });
    t.post(path, &event).await.ok();
    let other = t
        .get("/apis/events.k8s.io/v1/namespaces/default/events/e")
        .await
        .ok();
    assert_eq!(
        (other.str_at(&["note"]), other.str_at(&["regarding", "name"])),
        (Some("it did"), Some("p"))
    );
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert_eq!(t.get(&format!("{path}/e")).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn the_openapi_document_for_old_kubectls_has_a_valid_media_type() {
    let t = World::new().cluster("a").await;
    let asked = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = t.call("GET", "/openapi/v2", &[("accept", asked)], "").await;
    assert_eq!(answer.code, 200);
    assert_eq!(
        answer.headers["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
}
