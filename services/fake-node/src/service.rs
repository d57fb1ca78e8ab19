//! Runs fake nodes for all clusters of a process.
//!
//! Pods come from the process's informers; one task handles heartbeats of all nodes; writes are bounded.

use crate::node::{self, NodeSpec};
use crate::pod::{self, Step};
use api::k8s_openapi::api::coordination::v1::Lease;
use api::k8s_openapi::api::core::v1::{Node, Pod};
use base::{Clock, ClusterId, Shutdown};
use client::{Api, Client, DeleteParams, Patch, Resource};
use parking_lot::Mutex;
use runtime::{Change, Clients, Entry, Identity, Informers};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// How nodes behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often a node renews its lease. Upstream's kubelets: 10 s.
    pub heartbeat: Duration,
    /// How long a pod's containers take to start.
    pub start: Duration,
    /// Writes in flight.
    pub writes: usize,
    /// The kubelet version that nodes say they have.
    pub version: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(10),
            start: Duration::ZERO,
            writes: 64,
            version: "v1.37.0".into(),
        }
    }
}

/// What fake nodes stand on.
pub struct Deps {
    pub informers: Arc<Informers>,
    pub clients: Arc<dyn Clients>,
    pub clock: Clock,
}

/// All fake nodes of the process. Cheap to clone.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    options: Options,
    deps: Deps,
    nodes: Mutex<BTreeMap<(ClusterId, String), Fake>>,
    writes: Arc<Semaphore>,
    work: mpsc::UnboundedSender<Arc<Entry>>,
}

struct Fake {
    spec: NodeSpec,
    /// Numbers the pods' addresses.
    next_ip: u32,
}

/// One more than this many failures and a write is left to the next heartbeat or change.
const TRIES: u32 = 5;

impl Fleet {
    /// A fleet without nodes, and the future that runs it.
    pub fn new(options: Options, deps: Deps) -> (Self, impl Future<Output = ()> + Send) {
        let (work, queue) = mpsc::unbounded_channel();
        let writes = Arc::new(Semaphore::new(options.writes.max(1)));
        let fleet = Self(Arc::new(Inner {
            options,
            deps,
            nodes: Mutex::default(),
            writes,
            work,
        }));
        let run = fleet.clone().run(queue);
        (fleet, run)
    }

    /// A node begins to exist.
    pub fn add(&self, cluster: &ClusterId, spec: NodeSpec) {
        let key = (cluster.clone(), spec.name.clone());
        self.0.nodes.lock().insert(
            key,
            Fake {
                spec: spec.clone(),
                next_ip: 2,
            },
        );
        let (fleet, cluster) = (self.clone(), cluster.clone());
        tokio::spawn(async move { fleet.register(&cluster, &spec).await });
    }

    /// A node is destroyed, without a word to anybody.
    pub fn remove(&self, cluster: &ClusterId, name: &str) {
        self.0.nodes.lock().remove(&(cluster.clone(), name.to_owned()));
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.0.nodes.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn client(&self, cluster: &ClusterId) -> Client {
        let identity = Identity {
            role: "kubelet",
            component: "kubelet",
        };
        self.0.deps.clients.client(cluster, &identity, None)
    }

    fn is_ours(&self, cluster: &ClusterId, node: &str) -> bool {
        self.0
            .nodes
            .lock()
            .contains_key(&(cluster.clone(), node.to_owned()))
    }

    async fn register(&self, cluster: &ClusterId, spec: &NodeSpec) {
        for attempt in 0..TRIES {
            if !self.is_ours(cluster, &spec.name) {
                return;
            }
            let _permit = self.0.writes.acquire().await;
            match self.try_register(cluster, spec).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(%cluster, node = spec.name, %error, "cannot register a fake node")
                }
            }
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
    }

    async fn try_register(&self, cluster: &ClusterId, spec: &NodeSpec) -> Result<(), client::Error> {
        let now = self.0.deps.clock.now_rfc3339();
        let client = self.client(cluster);
        let nodes = Api::<Node>::all(&client);
        let object = node::object(spec, &self.0.options.version, &now);
        let typed: Node = serde_json::from_value(object.clone()).unwrap_or_default();
        match nodes.create(&typed).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        let patch = Patch::Merge(json!({ "status": object["status"] }));
        nodes.patch_status(&spec.name, &patch).await?;
        self.renew(&client, &spec.name).await
    }

    async fn renew(&self, client: &Client, node: &str) -> Result<(), client::Error> {
        let leases = Api::<Lease>::namespaced(client, "kube-node-lease");
        let now = base::clock::rfc3339_micro(self.0.deps.clock.now());
        let spec = json!({ "holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now });
        match leases.patch(node, &Patch::Merge(json!({ "spec": spec }))).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => {
                let lease =
                    json!({ "metadata": { "name": node, "namespace": "kube-node-lease" }, "spec": spec });
                let lease: Lease = serde_json::from_value(lease).unwrap_or_default();
                leases.create(&lease).await.map(|_| ())
            }
            Err(error) => Err(error),
        }
    }

    async fn run(self, mut queue: mpsc::UnboundedReceiver<Arc<Entry>>) {
        let pods = self.0.deps.informers.informer(&Resource::of::<Pod>(), &[]);
        let work = self.0.work.clone();
        pods.subscribe(Arc::new(move |change: &Change| {
            if let Some(entry) = &change.new {
                let _stopping = work.send(entry.clone());
            }
        }));
        self.0.deps.informers.start();
        let mut beat = tokio::time::interval(self.0.options.heartbeat);
        loop {
            tokio::select! {
                Some(entry) = queue.recv() => self.look_at(entry),
                _ = beat.tick() => self.heartbeats(),
            }
        }
    }

    fn heartbeats(&self) {
        let mut by_cluster: HashMap<ClusterId, Vec<String>> = HashMap::new();
        for (cluster, name) in self.0.nodes.lock().keys() {
            by_cluster.entry(cluster.clone()).or_default().push(name.clone());
        }
        for (cluster, names) in by_cluster {
            let fleet = self.clone();
            tokio::spawn(async move {
                let client = fleet.client(&cluster);
                for name in names {
                    let _permit = fleet.0.writes.acquire().await;
                    if let Err(error) = fleet.renew(&client, &name).await {
                        tracing::debug!(%cluster, node = name, %error, "a fake node's heartbeat failed");
                    }
                }
            });
        }
    }

    fn look_at(&self, entry: Arc<Entry>) {
        let Ok(object) = entry.decode::<Pod>() else { return };
        let cluster = entry.key.cluster.clone();
        let node = object
            .spec
            .as_ref()
            .and_then(|s| s.node_name.clone())
            .unwrap_or_default();
        let (host, ip) = {
            let mut nodes = self.0.nodes.lock();
            let Some(fake) = nodes.get_mut(&(cluster.clone(), node)) else {
                return;
            };
            fake.next_ip = fake.next_ip % 0xfffe + 1;
            (
                fake.spec.address.clone(),
                Ipv4Addr::from(0x0a80_0000 + fake.next_ip).to_string(),
            )
        };
        let step = pod::decide(&object, &host, &ip, &self.0.deps.clock.now_rfc3339());
        if step == Step::Rest {
            return;
        }
        let fleet = self.clone();
        tokio::spawn(async move { fleet.take(&cluster, object, step).await });
    }

    async fn take(&self, cluster: &ClusterId, object: Pod, step: Step) {
        if !self.0.options.start.is_zero() {
            tokio::time::sleep(self.0.options.start).await;
        }
        let name = object.metadata.name.clone().unwrap_or_default();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        for attempt in 0..TRIES {
            let outcome = {
                let _permit = self.0.writes.acquire().await;
                let pods = Api::<Pod>::namespaced(&self.client(cluster), &namespace);
                match &step {
                    Step::Rest => return,
                    Step::Report(status) => {
                        let patch = json!({ "metadata": { "uid": object.metadata.uid }, "status": status });
                        pods.patch_status(&name, &Patch::Merge(patch)).await.map(|_| ())
                    }
                    Step::Remove => {
                        let params = DeleteParams {
                            grace_period_seconds: Some(0),
                            ..DeleteParams::default()
                        };
                        pods.delete(&name, &params).await.map(|_| ())
                    }
                }
            };
            match outcome {
                Ok(()) => break,
                Err(error) if error.is_not_found() || error.is_conflict() => return,
                Err(error) => tracing::debug!(%cluster, pod = name, %error, "a fake node's write failed"),
            }
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
        }
        if let (Step::Report(_), Some(time)) = (&step, pod::runs_for(&object)) {
            tokio::time::sleep(time).await;
            self.finish(cluster, &namespace, &name).await;
        }
    }

    async fn finish(&self, cluster: &ClusterId, namespace: &str, name: &str) {
        let _permit = self.0.writes.acquire().await;
        let pods = Api::<Pod>::namespaced(&self.client(cluster), namespace);
        let Ok(Some(now)) = pods.get_opt(name).await else {
            return;
        };
        let status = pod::succeeded(&now, &self.0.deps.clock.now_rfc3339());
        if let Err(error) = pods
            .patch_status(name, &Patch::Strategic(json!({ "status": status })))
            .await
        {
            tracing::debug!(%cluster, pod = name, %error, "a fake node's write failed");
        }
    }
}

impl Fleet {
    /// As [`Fleet::new`], in a task that ends at `shutdown`.
    pub fn spawn(options: Options, deps: Deps, shutdown: Shutdown) -> Self {
        let (fleet, run) = Self::new(options, deps);
        tokio::spawn(async move { shutdown.run_until(run).await });
        fleet
    }
}
