//! A cluster with everything that runs in one: controllers, scheduler, simulated nodes.

use api::core::v1::{Node, Pod, ServiceAccount};
use api::{Object, ObjectMeta};
use apiserver::{ApiServer, InProcess};
use auth::User;
use base::ClusterId;
use client::{Api, Client, ListParams};
use controllers::{Deps, Options, PodRange};
use fake_node::{Fleet, NodeSpec};
use prometheus_client::registry::Registry;
use runtime::leadership::Alone;
use runtime::{Clients, Identity, Informers, QueueMetrics, Recorder, StoreSource};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use store_api::Guard;
use world::{Tenant, World};

/// Clients of the world's API server, each under the account that upstream's bootstrap policy knows.
struct InWorld(ApiServer);

impl Clients for InWorld {
    fn client(&self, cluster: &ClusterId, identity: &Identity, guard: Option<Guard>) -> Client {
        let user = match identity.role {
            "kubelet" => world::admin(),
            "kube-controller-manager" => {
                let name = format!("system:serviceaccount:kube-system:{}", identity.component);
                let mut user = User::in_process(&name);
                user.groups.extend([
                    "system:serviceaccounts".into(),
                    "system:serviceaccounts:kube-system".into(),
                ]);
                user
            }
            role => User::in_process(&format!("system:{role}")),
        };
        let mut transport = InProcess::new(self.0.clone(), cluster.clone(), user);
        if let Some(guard) = guard {
            transport = transport.fenced(guard);
        }
        Client::new(Arc::new(transport)).with_user_agent(identity.role)
    }
}

pub(crate) struct Plant {
    pub(crate) world: World,
    pub(crate) tenant: Tenant,
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    /// What the controllers and the scheduler count.
    pub(crate) metrics: Registry,
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.world.shutdown.trigger();
    }
}

impl Plant {
    /// A cluster with Ready nodes `n1`, `n2` and so on, in which pods take a second to start.
    pub(crate) async fn with_nodes(count: usize) -> Self {
        let world = World::new();
        let tenant = world.cluster("a").await;
        let clients: Arc<dyn Clients> = Arc::new(InWorld(world.server.clone()));
        let source = Arc::new(StoreSource::new(Arc::new(world.store.clone())));
        let range = PodRange {
            base: [10, 244, 0, 0].into(),
            prefix: 16,
            node_prefix: 24,
        };
        let (queues, scheduling) = (QueueMetrics::default(), scheduler::Metrics::default());
        let mut metrics = Registry::default();
        queues.register(&mut metrics);
        scheduling.register(&mut metrics);
        let deps = Deps {
            source: source.clone(),
            clients: clients.clone(),
            leadership: Arc::new(Alone::default()),
            ca: Arc::new(|cluster| Some(format!("CA of {cluster}"))),
            pod_ranges: Arc::new(move |_| vec![range]),
            clock: world.clock.clone(),
            metrics: queues,
        };
        tokio::spawn(controllers::run(Options::default(), deps, world.shutdown.child()));
        let informers = Informers::new(source, world.shutdown.child());
        let (recorder, writer) = Recorder::new(clients.clone(), "kube-scheduler", world.clock.clone());
        tokio::spawn(writer.run(world.shutdown.child()));
        let schedules = scheduler::Deps {
            informers: informers.clone(),
            clients: clients.clone(),
            leadership: Arc::new(Alone::default()),
            recorder,
            clock: world.clock.clone(),
            metrics: scheduling,
        };
        tokio::spawn(scheduler::run(
            scheduler::Options::default(),
            schedules,
            world.shutdown.child(),
        ));
        let fleet = Fleet::spawn(
            fake_node::Options {
                start: Duration::from_secs(1),
                ..fake_node::Options::default()
            },
            fake_node::Deps {
                informers,
                clients,
                clock: world.clock.clone(),
            },
            world.shutdown.child(),
        );
        let client = Client::new(Arc::new(tenant.transport.clone()));
        let plant = Self {
            world,
            tenant,
            client,
            fleet,
            metrics,
        };
        for n in 1..=count {
            plant.add_node(&format!("n{n}"));
        }
        until("every node may be scheduled on", || async {
            let nodes = Api::<Node>::all(&plant.client)
                .list(&ListParams::default())
                .await
                .ok()?
                .items;
            let free = |n: &&Node| n.spec.as_ref().is_none_or(|s| s.taints.is_none());
            (nodes.iter().filter(free).count() == count).then_some(())
        })
        .await;
        until("the namespace takes pods", || async {
            Api::<ServiceAccount>::namespaced(&plant.client, "default")
                .get_opt("default")
                .await
                .ok()?
        })
        .await;
        plant
    }

    pub(crate) fn add_node(&self, name: &str) {
        let spec = NodeSpec {
            name: name.into(),
            zone: "a".into(),
            instance_type: "sim".into(),
            pool: "p".into(),
            provider_id: format!("sim://{name}"),
            address: "10.0.0.1".into(),
            milli_cpu: 4000,
            memory: 16 << 30,
            max_pods: 110,
        };
        self.fleet.add(self.tenant.id(), spec);
    }

    pub(crate) fn api<K: Object>(&self) -> Api<K> {
        if K::NAMESPACED {
            Api::namespaced(&self.client, "default")
        } else {
            Api::all(&self.client)
        }
    }

    pub(crate) async fn create<K: Object>(&self, value: Value) -> K {
        let made = self.api::<K>().create(&object(value)).await;
        made.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Pods with this label `app`, by name.
    pub(crate) async fn pods(&self, app: &str) -> Vec<Pod> {
        let list = self
            .api::<Pod>()
            .list(&ListParams::labels(format!("app={app}")))
            .await;
        let mut pods = list.unwrap_or_else(|e| panic!("{e}")).items;
        pods.sort_by(|a, b| a.name().cmp(b.name()));
        pods
    }

    /// Reasons and messages of all events about objects of this name, or whose name begins so.
    pub(crate) async fn events(&self, name: &str) -> Vec<(String, String)> {
        let list = self
            .api::<api::core::v1::Event>()
            .list(&ListParams::default())
            .await;
        let about = |e: &api::core::v1::Event| {
            e.involved_object
                .name
                .as_deref()
                .is_some_and(|n| n.starts_with(name))
        };
        let events = list
            .unwrap_or_else(|e| panic!("{e}"))
            .items
            .into_iter()
            .filter(about);
        events
            .map(|e| (e.reason.unwrap_or_default(), e.message.unwrap_or_default()))
            .collect()
    }
}

pub(crate) fn object<K: Object>(value: Value) -> K {
    K::decode(value.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) fn node_of(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or("")
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

pub(crate) fn created(meta: &ObjectMeta) -> jiff::Timestamp {
    meta.creation_timestamp.as_ref().map(|t| t.0).unwrap_or_default()
}

/// Waits until a check passes; time is virtual, so minutes cost nothing.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    for _ in 0..3000 {
        if let Some(found) = check().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}");
}
