//! The scheduler: pods bound each second on 5,000 nodes, from their creation to their binding in the store.
//!
//! API server, Raft store (one member, every write synced) and scheduler are in this process; nodes are Node objects
//! with nobody behind them. Pods are created while the scheduler runs. The time counted is from the first creation to
//! the last binding, CPU time is that of the whole process, the creating client included. The first reference is
//! upstream's scheduler on the same two cores, with client, API server and etcd as processes of their own joined by TLS;
//! the second is what upstream's own benchmark `scheduler_perf` (API server and etcd beside it, a bigger machine) must
//! reach to pass. `--nodes N` and `--pods N` change the size; `--only basic` does one kind.

use anyhow::{Context, Result, bail};
use api::Object;
use api::core::v1::{Node, Pod};
use apiserver::bootstrap::BootstrapOptions;
use apiserver::{ApiServer, Deps, InProcess, StoreDecoder};
use auth::{AnonymousPolicy, Authenticator, Authorizer, Objects, User};
use base::{Clock, ClusterId, Shutdown};
use bench::{Report, Usage, per_second, resident_of};
use client::{Api, Client, Resource};
use runtime::leadership::Alone as OnlyOne;
use runtime::{Change, Clients, Identity, Informers, Recorder, StoreSource};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store_api::{Guard, Store};
use store_raft::{Alone, Options};
use tokio::task::JoinSet;
use world::Clusters;

/// Writes of the creating client in flight.
const IN_FLIGHT: usize = 64;
/// A kind of pods that is not bound by then, nodes and all, is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// Everybody is an administrator here.
struct Everybody(ApiServer);

impl Clients for Everybody {
    fn client(&self, cluster: &ClusterId, identity: &Identity, _guard: Option<Guard>) -> Client {
        let transport = InProcess::new(self.0.clone(), cluster.clone(), world::admin());
        Client::new(Arc::new(transport)).with_user_agent(identity.role)
    }
}

/// One cluster of this process.
struct Bench {
    client: Client,
    informers: Arc<Informers>,
    clients: Arc<dyn Clients>,
    clock: Clock,
    bound: Arc<AtomicU64>,
    shutdown: Shutdown,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut report = Report::from_args("schedule");
    let number = |name: &str, default: u64| {
        let given = report.args().value(name).and_then(|n| n.parse().ok());
        given.unwrap_or(report.scale(default))
    };
    let (nodes, pods) = (number("--nodes", 5_000), number("--pods", 3_000));
    let only = report.args().value("--only").map(str::to_owned);
    for (name, reference) in [
        ("basic", "7.2 ms CPU a pod, 255/s; scheduler_perf 680/s"),
        ("zone spread", "18 ms CPU a pod, 102/s; scheduler_perf 460/s"),
        (
            "required anti-affinity",
            "18.7 ms CPU a pod, 95/s; scheduler_perf 60/s",
        ),
    ] {
        if only.as_deref().is_some_and(|o| o != name) {
            continue;
        }
        let line = tokio::time::timeout(PATIENCE, run(name, nodes, pods))
            .await
            .with_context(|| format!("{name}: not done after {PATIENCE:?}"))??;
        report.add(format!("{name}: {pods} pods on {nodes} nodes"), line, reference);
    }
    report.print();
    Ok(())
}

/// Measures one kind of pod in a cluster of its own.
async fn run(name: &str, nodes: u64, pods: u64) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let bench = Bench::start(dir.path()).await?;
    bench.nodes(nodes).await?;
    let usage = Usage::start();
    bench.pods(name, pods).await?;
    while bench.bound.load(Ordering::Relaxed) < pods {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (wall, cpu) = (usage.wall().as_secs_f64(), usage.cpu().as_secs_f64());
    let line = format!(
        "{:.3} ms CPU a pod, {}, RSS {} MiB",
        cpu * 1000.0 / pods as f64,
        per_second(pods as f64 / wall),
        resident_of(None) >> 20
    );
    bench.shutdown.trigger();
    Ok(line)
}

impl Bench {
    async fn start(dir: &std::path::Path) -> Result<Self> {
        let clock = Clock::system();
        let shutdown = Shutdown::new();
        let (store, service) = store_raft::open(Options::single(dir), clock.clone(), Arc::new(Alone)).await?;
        tokio::spawn(service.run(shutdown.clone()));
        let store: Arc<dyn Store> = Arc::new(store);
        let clusters = Arc::new(Clusters::default());
        let objects = Objects::new(store.clone(), StoreDecoder::new(clusters.clone()));
        let server = ApiServer::builder(Deps {
            store: store.clone(),
            directory: clusters.clone(),
            authenticator: Arc::new(Authenticator::new(
                objects.clone(),
                clock.clone(),
                AnonymousPolicy::default(),
            )),
            authorizer: Arc::new(Authorizer::new(objects)),
            clock: clock.clone(),
            shutdown: shutdown.clone(),
        })
        .build();
        let cluster = clusters.add("bench", &clock);
        let options = BootstrapOptions { endpoint: None };
        if let Err(error) = server.bootstrap(&cluster, options).await {
            bail!("the cluster cannot begin: {error:?}");
        }
        let user: User = world::admin();
        let transport = InProcess::new(server.clone(), cluster.id.clone(), user);
        let client = Client::new(Arc::new(transport));
        let account = json!({"metadata": {"name": "default", "namespace": "default"}});
        Api::namespaced(&client, "default")
            .create(&object::<api::core::v1::ServiceAccount>(&account)?)
            .await?;
        let clients: Arc<dyn Clients> = Arc::new(Everybody(server));
        let informers = Informers::new(Arc::new(StoreSource::new(store)), shutdown.clone());
        let bound = Arc::new(AtomicU64::new(0));
        let counter = bound.clone();
        let is_bound = |e: &runtime::Entry| e.header.fields.first().is_some_and(|node| !node.is_empty());
        informers
            .informer(&Resource::of::<Pod>(), &[runtime::header::POD_NODE])
            .subscribe(Arc::new(move |change: &Change| {
                let now = change.new.as_deref().is_some_and(is_bound);
                if now && !change.old.as_deref().is_some_and(is_bound) {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            }));
        let bench = Self {
            client,
            informers,
            clients,
            clock,
            bound,
            shutdown,
        };
        bench.schedule();
        Ok(bench)
    }

    fn schedule(&self) {
        let (recorder, writer) = Recorder::new(self.clients.clone(), "kube-scheduler", self.clock.clone());
        tokio::spawn(writer.run(self.shutdown.clone()));
        let deps = scheduler::Deps {
            informers: self.informers.clone(),
            clients: self.clients.clone(),
            leadership: Arc::new(OnlyOne::default()),
            recorder,
            clock: self.clock.clone(),
            metrics: scheduler::Metrics::default(),
        };
        tokio::spawn(scheduler::run(
            scheduler::Options::default(),
            deps,
            self.shutdown.clone(),
        ));
    }

    async fn nodes(&self, count: u64) -> Result<()> {
        let api: Api<Node> = Api::all(&self.client);
        let resources = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
        let make = |n: u64| {
            json!({"metadata": {"name": format!("node-{n}"), "labels": {
                    "kubernetes.io/hostname": format!("node-{n}"),
                    "topology.kubernetes.io/zone": format!("zone-{}", n % 3),
                }},
                "status": {"capacity": resources, "allocatable": resources, "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}]}})
        };
        each(count, |n| {
            let (api, node) = (api.clone(), make(n));
            async move {
                api.create(&object::<Node>(&node)?).await?;
                // The taint that every new node begins with is a controller's to take away; there are none here.
                let name = format!("node-{n}");
                let status = client::Patch::Merge(json!({"status": node["status"]}));
                api.patch_status(&name, &status).await?;
                let bare = client::Patch::Merge(json!({"spec": {"taints": null}}));
                api.patch(&name, &bare).await?;
                Ok(())
            }
        })
        .await
    }

    async fn pods(&self, name: &str, count: u64) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(&self.client, "default");
        let more = match name {
            "zone spread" => json!({"topologySpreadConstraints": [{
                "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"color": "blue"}}}]}),
            "required anti-affinity" => json!({"affinity": {"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"color": "blue"}}}]}}}),
            _ => json!({}),
        };
        each(count, |n| {
            let mut pod = json!({"metadata": {"name": format!("pod-{n}"), "namespace": "default",
                    "labels": {"color": "blue"}},
                "spec": {"containers": [{"name": "pause", "image": "registry.k8s.io/pause:3.10",
                    "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}}}]}});
            for (key, value) in more.as_object().into_iter().flatten() {
                pod["spec"][key] = value.clone();
            }
            let api = api.clone();
            async move {
                api.create(&object::<Pod>(&pod)?).await?;
                Ok(())
            }
        })
        .await
    }
}

fn object<K: Object>(value: &Value) -> Result<K> {
    Ok(K::decode(value.to_string().as_bytes())?)
}

/// Does something for each number below `count`, [`IN_FLIGHT`] at a time.
async fn each<F>(count: u64, make: impl Fn(u64) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for n in 0..count {
        if tasks.len() >= IN_FLIGHT {
            tasks.join_next().await.unwrap_or(Ok(Ok(())))??;
        }
        tasks.spawn(make(n));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
