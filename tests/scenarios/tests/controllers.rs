//! Controllers on the real API server, for several clusters at once, under the identities that they really have.

use api::Object;
use api::apps::v1::{Deployment, ReplicaSet};
use api::coordination::v1::Lease;
use api::core::v1::{ConfigMap, Endpoints, Namespace, Node, Pod, ServiceAccount};
use api::discovery::v1::EndpointSlice;
use apiserver::InProcess;
use auth::User;
use base::{ClusterId, Shutdown};
use client::{Api, Client, DeleteParams, ListParams, Patch, Propagation};
use controllers::{Deps, Options, PodRange};
use runtime::leadership::Alone;
use runtime::{Clients, Identity, Informers, ManagerDeps, Recorder, StoreSource};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use store_api::Guard;
use world::{Tenant, World};

/// Clients of the world's API server, as the service accounts that upstream's bootstrap policy knows.
struct InWorld(apiserver::ApiServer);

impl Clients for InWorld {
    fn client(&self, cluster: &ClusterId, identity: &Identity, guard: Option<Guard>) -> Client {
        let mut user = User::in_process(&format!(
            "system:serviceaccount:kube-system:{}",
            identity.component
        ));
        user.groups.extend([
            "system:serviceaccounts".into(),
            "system:serviceaccounts:kube-system".into(),
        ]);
        let mut transport = InProcess::new(self.0.clone(), cluster.clone(), user);
        if let Some(guard) = guard {
            transport = transport.fenced(guard);
        }
        Client::new(Arc::new(transport)).with_user_agent(identity.role)
    }
}

fn deps(world: &World) -> Deps {
    Deps {
        source: Arc::new(StoreSource::new(Arc::new(world.store.clone()))),
        clients: Arc::new(InWorld(world.server.clone())),
        leadership: Arc::new(Alone::default()),
        ca: Arc::new(|cluster| Some(format!("CA of {cluster}"))),
        pod_ranges: Arc::new(|_| {
            vec![PodRange {
                base: [10, 244, 0, 0].into(),
                prefix: 16,
                node_prefix: 24,
            }]
        }),
        clock: world.clock.clone(),
        metrics: runtime::QueueMetrics::default(),
    }
}

fn run(world: &World) -> Shutdown {
    let shutdown = world.shutdown.child();
    tokio::spawn(controllers::run(
        Options::default(),
        deps(world),
        shutdown.clone(),
    ));
    shutdown
}

fn client(tenant: &Tenant) -> Client {
    Client::new(Arc::new(tenant.transport.clone()))
}

fn object<K: Object>(value: serde_json::Value) -> K {
    K::decode(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

/// Waits until a check passes; time is virtual, so an hour costs nothing.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    for _ in 0..3000 {
        if let Some(found) = check().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

/// What kubelets would do: every pod runs and is ready.
async fn kubelet(c: &Client) {
    let nodes: Api<Pod> = Api::all(c);
    let mut number = 0;
    for pod in nodes.list(&ListParams::default()).await.unwrap().items {
        let api: Api<Pod> = Api::namespaced(c, pod.namespace());
        number += 1;
        if pod.metadata.deletion_timestamp.is_some() {
            let _gone = api.delete(pod.name(), &DeleteParams::now()).await;
        } else if pod.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Running") {
            let patch = json!({"status": {"phase": "Running", "podIP": format!("10.1.0.{number}"), "podIPs": [{"ip": format!("10.1.0.{number}")}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            let _raced = api.patch_status(pod.name(), &Patch::Strategic(patch)).await;
        }
    }
}

fn deployment(image: &str) -> Deployment {
    object(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}}),
    )
}

async fn rolled_out(c: &Client) {
    until("the rollout is complete", || async {
        kubelet(c).await;
        let d: Deployment = Api::namespaced(c, "shop").get("web").await.unwrap();
        let s = d.status.unwrap_or_default();
        let done = s.observed_generation == d.metadata.generation
            && s.updated_replicas == Some(3)
            && s.available_replicas == Some(3)
            && s.replicas == Some(3);
        done.then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_fills_rolls_out_serves_and_goes() {
    let world = World::new();
    let (a, b) = (world.cluster("a").await, world.cluster("b").await);
    let _running = run(&world);
    for tenant in [&a, &b] {
        let c = client(tenant);
        let namespaces: Api<Namespace> = Api::all(&c);
        namespaces
            .create(&object(json!({"metadata": {"name": "shop"}})))
            .await
            .unwrap();
        until("the namespace has its account", || async {
            Api::<ServiceAccount>::namespaced(&c, "shop")
                .get_opt("default")
                .await
                .unwrap()
        })
        .await;
        let ca = until("and its CA", || async {
            Api::<ConfigMap>::namespaced(&c, "shop")
                .get_opt("kube-root-ca.crt")
                .await
                .unwrap()
        })
        .await;
        assert_eq!(
            ca.data.unwrap()["ca.crt"],
            format!("CA of {}", tenant.id()),
            "each cluster has its own"
        );
    }

    let c = client(&a);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    Api::<api::core::v1::Service>::namespaced(&c, "shop")
        .create(&object(service))
        .await
        .unwrap();
    let deployments: Api<Deployment> = Api::namespaced(&c, "shop");
    deployments.create(&deployment("v1")).await.unwrap();
    rolled_out(&c).await;
    let slices: Api<EndpointSlice> = Api::namespaced(&c, "shop");
    until("the slice has three ready endpoints", || async {
        let all = slices
            .list(&ListParams::labels("kubernetes.io/service-name=web"))
            .await
            .unwrap()
            .items;
        let ready = all.iter().flat_map(|s| s.endpoints.iter().flatten());
        let ready = ready.filter(|e| e.conditions.as_ref().is_some_and(|c| c.ready == Some(true)));
        (ready.count() == 3).then_some(())
    })
    .await;
    until("and so have the Endpoints", || async {
        let endpoints = Api::<Endpoints>::namespaced(&c, "shop")
            .get_opt("web")
            .await
            .unwrap()?;
        let n = endpoints
            .subsets
            .iter()
            .flatten()
            .flat_map(|s| s.addresses.iter().flatten())
            .count();
        (n == 3).then_some(())
    })
    .await;

    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "v2"}]}}}});
    deployments.patch("web", &Patch::Strategic(patch)).await.unwrap();
    rolled_out(&c).await;
    let sets = Api::<ReplicaSet>::namespaced(&c, "shop")
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let mut sizes: Vec<_> = sets.iter().map(|s| s.spec.replicas).collect();
    sizes.sort();
    assert_eq!(sizes, [Some(0), Some(3)]);
    let pods = Api::<Pod>::namespaced(&c, "shop")
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    assert!(
        pods.iter()
            .all(|p| p.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("v2"))
    );
    until("events tell of it", || async {
        let events = Api::<api::core::v1::Event>::namespaced(&c, "shop")
            .list(&ListParams::default())
            .await
            .unwrap();
        let scaled = events.items.iter().any(|e| {
            e.reason.as_deref() == Some("ScalingReplicaSet")
                && e.message.as_deref().is_some_and(|m| {
                    m.starts_with("Scaled up replica set web-") && m.ends_with(" from 0 to 3")
                })
        });
        scaled.then_some(())
    })
    .await;

    Api::<Namespace>::all(&c)
        .delete("shop", &DeleteParams::default())
        .await
        .unwrap();
    until("the namespace is gone", || async {
        kubelet(&c).await;
        Api::<Namespace>::all(&c)
            .get_opt("shop")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let other: Api<ServiceAccount> = Api::namespaced(&client(&b), "shop");
    assert!(
        other.get_opt("default").await.unwrap().is_some(),
        "the neighbour's namespace stays"
    );
    world.shutdown.trigger();
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_loses_its_pods_after_their_toleration() {
    let world = World::new();
    let a = world.cluster("a").await;
    let _running = run(&world);
    let c = client(&a);
    let nodes: Api<Node> = Api::all(&c);
    for name in ["n1", "n2", "n3"] {
        nodes
            .create(&object(json!({"metadata": {"name": name}})))
            .await
            .unwrap();
    }
    let leases: Api<Lease> = Api::namespaced(&c, "kube-node-lease");
    for name in ["n1", "n2", "n3"] {
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}});
        nodes.patch_status(name, &Patch::Strategic(ready)).await.unwrap();
        let lease = json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"holderIdentity": name}});
        leases.create(&object(lease)).await.unwrap();
    }
    let cidrs = until("every node has its range", || async {
        let all = nodes.list(&ListParams::default()).await.unwrap().items;
        let cidrs: Option<std::collections::BTreeSet<_>> =
            all.iter().map(|n| n.spec.as_ref()?.pod_cidr.clone()).collect();
        cidrs.filter(|c| c.len() == 3)
    })
    .await;
    assert!(cidrs.contains("10.244.0.0/24"));

    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "n1", "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}],
            "tolerations": [{"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]}});
    let pods: Api<Pod> = Api::namespaced(&c, "default");
    until("the namespace takes pods", || async {
        pods.create(&object(pod.clone())).await.ok()
    })
    .await;
    kubelet(&c).await;
    let start = world.clock.now();
    let alive = || async {
        for name in ["n2", "n3"] {
            let now = base::clock::rfc3339_micro(world.clock.now());
            let patch = json!({"spec": {"renewTime": now}});
            leases.patch(name, &Patch::Merge(patch)).await.unwrap();
        }
    };
    until("the silent node is tainted", || async {
        alive().await;
        let n1 = nodes.get("n1").await.unwrap();
        let taints = n1.spec.unwrap_or_default().taints.unwrap_or_default();
        taints
            .iter()
            .any(|t| t.key == "node.kubernetes.io/unreachable" && t.effect == "NoExecute")
            .then_some(())
    })
    .await;
    let waited = world.clock.now().duration_since(start).as_secs();
    assert!((35..60).contains(&waited), "{waited} s");
    until("its pod is not ready", || async {
        alive().await;
        let p = pods.get("p").await.unwrap().status.unwrap();
        p.conditions
            .unwrap()
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "False")
            .then_some(())
    })
    .await;
    until("its pod goes when the toleration ends", || async {
        alive().await;
        pods.get_opt("p").await.unwrap().is_none().then_some(())
    })
    .await;
    let waited = world.clock.now().duration_since(start).as_secs();
    assert!((95..130).contains(&waited), "{waited} s");
    let n2 = nodes.get("n2").await.unwrap();
    assert!(
        n2.spec.unwrap_or_default().taints.is_none(),
        "those that live are left alone"
    );
    world.shutdown.trigger();
}

/// In one process the scheduler shares its informers with the controllers, and may have started them first.
#[tokio::test(start_paused = true)]
async fn pods_of_a_deleted_node_go_also_if_the_controllers_found_the_pods_in_the_cache() {
    let world = World::new();
    let a = world.cluster("a").await;
    let before = run(&world);
    let c = client(&a);
    let nodes: Api<Node> = Api::all(&c);
    nodes
        .create(&object(json!({"metadata": {"name": "n1"}})))
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(&c, "default");
    let pod = json!({"metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    until("the namespace takes pods", || async {
        pods.create(&object(pod.clone())).await.ok()
    })
    .await;
    kubelet(&c).await;
    before.trigger();

    let deps = deps(&world);
    let informers = Informers::new(deps.source.clone(), world.shutdown.clone());
    informers.cache::<Pod>();
    informers.start();
    informers.synced().await;
    let role = "kube-controller-manager";
    let (recorder, writer) = Recorder::new(deps.clients.clone(), role, deps.clock.clone());
    tokio::spawn(writer.run(world.shutdown.clone()));
    let manager = ManagerDeps {
        informers,
        clients: deps.clients.clone(),
        leadership: deps.leadership.clone(),
        recorder,
        clock: deps.clock.clone(),
        role,
        metrics: deps.metrics.clone(),
    };
    let list = controllers::all(&deps);
    tokio::spawn(runtime::manager::run(manager, list, world.shutdown.clone()));
    let start = world.clock.now();
    nodes.delete("n1", &DeleteParams::default()).await.unwrap();
    until("its pod goes", || async {
        pods.get_opt("p").await.unwrap().is_none().then_some(())
    })
    .await;
    let waited = world.clock.now().duration_since(start).as_secs();
    assert!((30..60).contains(&waited), "{waited} s");
    world.shutdown.trigger();
}

#[tokio::test(start_paused = true)]
async fn dependents_go_with_their_owner_in_the_order_that_was_asked_for() {
    let world = World::new();
    let a = world.cluster("a").await;
    let _running = run(&world);
    let c = client(&a);
    Api::<Namespace>::all(&c)
        .create(&object(json!({"metadata": {"name": "shop"}})))
        .await
        .unwrap();
    until("the namespace has its account", || async {
        Api::<ServiceAccount>::namespaced(&c, "shop")
            .get_opt("default")
            .await
            .unwrap()
    })
    .await;
    let deployments: Api<Deployment> = Api::namespaced(&c, "shop");
    let sets: Api<ReplicaSet> = Api::namespaced(&c, "shop");
    let pods: Api<Pod> = Api::namespaced(&c, "shop");
    let empty = || async {
        kubelet(&c).await;
        let left = pods.list(&ListParams::default()).await.unwrap().items.len()
            + sets.list(&ListParams::default()).await.unwrap().items.len();
        (left == 0).then_some(())
    };
    for propagation in [Propagation::Background, Propagation::Foreground] {
        deployments.create(&deployment("v1")).await.unwrap();
        rolled_out(&c).await;
        let params = DeleteParams {
            propagation_policy: Some(propagation),
            ..DeleteParams::default()
        };
        deployments.delete("web", &params).await.unwrap();
        let waits = deployments.get_opt("web").await.unwrap().is_some();
        assert_eq!(
            waits,
            propagation == Propagation::Foreground,
            "only then it waits for its pods"
        );
        until("ReplicaSets and pods are gone", empty).await;
        until("and so is the Deployment", || async {
            deployments.get_opt("web").await.unwrap().is_none().then_some(())
        })
        .await;
    }
    deployments.create(&deployment("v1")).await.unwrap();
    rolled_out(&c).await;
    let params = DeleteParams {
        propagation_policy: Some(Propagation::Orphan),
        ..DeleteParams::default()
    };
    deployments.delete("web", &params).await.unwrap();
    until("the Deployment is gone", || async {
        deployments.get_opt("web").await.unwrap().is_none().then_some(())
    })
    .await;
    let set = sets.list(&ListParams::default()).await.unwrap().items.remove(0);
    assert_eq!(set.metadata.owner_references, None, "the ReplicaSet is free");
    assert_eq!(pods.list(&ListParams::default()).await.unwrap().items.len(), 3);
    // A new Deployment with the same template adopts it.
    deployments.create(&deployment("v1")).await.unwrap();
    rolled_out(&c).await;
    let adopted = sets.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(
        (adopted.len(), adopted[0].metadata.uid == set.metadata.uid),
        (1, true)
    );
    world.shutdown.trigger();
}
