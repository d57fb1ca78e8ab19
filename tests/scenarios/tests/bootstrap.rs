//! What a new cluster has, and how fast.

use std::time::Instant;
use world::World;

#[tokio::test(start_paused = true)]
async fn a_new_cluster_has_what_upstreams_has() {
    let world = World::new();
    let t = world.cluster("a").await;
    let names = |v: machinery::Value| -> Vec<String> {
        v.list_at(&["items"])
            .iter()
            .filter_map(|i| i.str_at(&["metadata", "name"]).map(str::to_owned))
            .collect()
    };
    let namespaces = names(t.get("/api/v1/namespaces").await.ok());
    assert_eq!(
        namespaces,
        ["default", "kube-node-lease", "kube-public", "kube-system"]
    );
    let service = t.get("/api/v1/namespaces/default/services/kubernetes").await.ok();
    assert_eq!(service.str_at(&["spec", "clusterIP"]), Some("10.96.0.1"));
    let classes = names(t.get("/apis/scheduling.k8s.io/v1/priorityclasses").await.ok());
    assert_eq!(classes, ["system-cluster-critical", "system-node-critical"]);
    let roles = names(
        t.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")
            .await
            .ok(),
    );
    assert!(roles.len() > 50 && roles.contains(&"cluster-admin".to_owned()));
    // Again writes nothing.
    let options = apiserver::bootstrap::BootstrapOptions { endpoint: None };
    assert_eq!(
        world
            .server
            .bootstrap(&t.cluster, options)
            .await
            .expect("it works"),
        0
    );
}

#[tokio::test]
async fn a_cluster_begins_with_all_of_its_roles() {
    let world = World::new();
    world.cluster("first").await;
    let cluster = world.clusters.add("second", &world.clock);
    let began = Instant::now();
    let options = apiserver::bootstrap::BootstrapOptions { endpoint: None };
    let written = world.server.bootstrap(&cluster, options).await.expect("it works");
    let took = began.elapsed();
    assert!(written > 100);
    println!("{written} objects in {took:?}");
}
