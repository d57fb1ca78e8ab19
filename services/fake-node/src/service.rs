//! Runs fake nodes for all clusters of a process.
//!
//! Pods and nodes come from the process's informers; one task handles heartbeats of all nodes; writes are bounded.
//! A pod whose node has no range of addresses yet, or none that is free, waits for it, as a real kubelet's does.

use crate::addresses::Addresses;
use crate::node::{self, NodeSpec};
use crate::pod::{self, Step};
use api::k8s_openapi::api::coordination::v1::Lease;
use api::k8s_openapi::api::core::v1::{Node, Pod};
use base::{Clock, ClusterId, Shutdown};
use client::{Api, Client, DeleteParams, Patch, Resource};
use parking_lot::Mutex;
use runtime::header::POD_NODE;
use runtime::{Change, Clients, Entry, Identity, Informers};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
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
    work: mpsc::UnboundedSender<Change>,
}

struct Fake {
    spec: NodeSpec,
    addresses: Addresses,
    /// Pods that wait for an address.
    waiting: Vec<Arc<Entry>>,
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
                addresses: Addresses::default(),
                waiting: Vec::new(),
            },
        );
        // What a process before this one left.
        let informers = &self.0.deps.informers;
        if let Some(node) = informers.cache::<Node>().get(cluster, "", &spec.name) {
            self.learn_range(&node);
        }
        let bound = informers.informer(&Resource::of::<Pod>(), &[POD_NODE]);
        let bound = bound.cache().by_field(cluster, &POD_NODE, &spec.name);
        let bound: Vec<Change> = bound.into_iter().map(found).collect();
        for change in &bound {
            self.note(change);
        }
        for change in bound {
            let _stopping = self.0.work.send(change);
        }
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

    async fn run(self, mut queue: mpsc::UnboundedReceiver<Change>) {
        let informers = &self.0.deps.informers;
        let pods = informers.informer(&Resource::of::<Pod>(), &[POD_NODE]);
        let nodes = informers.informer(&Resource::of::<Node>(), &[]);
        let work = self.0.work.clone();
        pods.subscribe(Arc::new(move |change: &Change| {
            let _stopping = work.send(change.clone());
        }));
        let fleet = self.clone();
        nodes.subscribe(Arc::new(move |change: &Change| {
            if let Some(entry) = &change.new {
                fleet.learn_range(entry);
            }
        }));
        informers.start();
        pods.synced().await;
        // Addresses that pods have from before this process are known before the first is given.
        let mut first = Vec::new();
        while let Ok(change) = queue.try_recv() {
            first.push(change);
        }
        for change in &first {
            self.note(change);
        }
        for change in first {
            self.look_at(&change);
        }
        let mut beat = tokio::time::interval(self.0.options.heartbeat);
        loop {
            tokio::select! {
                Some(change) = queue.recv() => self.look_at(&change),
                _ = beat.tick() => self.heartbeats(),
            }
        }
    }

    /// A node was told its range: pods that waited for it go on.
    fn learn_range(&self, entry: &Entry) {
        let key = (entry.key.cluster.clone(), entry.key.name.to_string());
        if !self.0.nodes.lock().contains_key(&key) {
            return;
        }
        let Ok(node) = entry.decode::<Node>() else { return };
        let Some(cidr) = node.spec.and_then(|s| s.pod_cidr) else {
            return;
        };
        let mut nodes = self.0.nodes.lock();
        if let Some(fake) = nodes.get_mut(&key)
            && fake.addresses.set_range(&cidr)
        {
            self.again(fake);
        }
    }

    /// Looks at a node's waiting pods again.
    fn again(&self, fake: &mut Fake) {
        for entry in fake.waiting.drain(..) {
            let _stopping = self.0.work.send(found(entry));
        }
    }

    /// Remembers the address that a pod of one of our nodes has.
    fn note(&self, change: &Change) {
        let Some(pod) = change.new.as_ref().and_then(|e| e.decode::<Pod>().ok()) else {
            return;
        };
        let key = (change.cluster.clone(), pod::node(&pod).to_owned());
        if let Some(fake) = self.0.nodes.lock().get_mut(&key)
            && let Some(address) = pod::address(&pod)
        {
            fake.addresses.note(&change.entry().header.uid, address);
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

    fn look_at(&self, change: &Change) {
        let entry = change.entry();
        let Ok(object) = entry.decode::<Pod>() else { return };
        let cluster = entry.key.cluster.clone();
        let step = {
            let mut nodes = self.0.nodes.lock();
            let Some(fake) = nodes.get_mut(&(cluster.clone(), pod::node(&object).to_owned())) else {
                return;
            };
            let uid = &*entry.header.uid;
            if change.new.is_none() || pod::is_finished(&object) {
                fake.waiting.retain(|e| *e.header.uid != *uid);
                if fake.addresses.release(uid) {
                    self.again(fake);
                }
            }
            if change.new.is_none() {
                return;
            }
            let host = fake.spec.address.clone();
            let ip = if !pod::wants_address(&object) {
                host.clone()
            } else if let Some(address) = fake.addresses.take(uid) {
                address.to_string()
            } else {
                // The pod as it is now, if it waits already.
                fake.waiting.retain(|e| *e.header.uid != *uid);
                fake.waiting.push(entry.clone());
                return;
            };
            pod::decide(&object, &host, &ip, &self.0.deps.clock.now_rfc3339())
        };
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

/// An object that is there, as if it had just come.
fn found(entry: Arc<Entry>) -> Change {
    Change {
        cluster: entry.key.cluster.clone(),
        old: None,
        new: Some(entry),
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
