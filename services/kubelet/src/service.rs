//! The kubelet as a service: options and dependencies in, a running node out.

use crate::cgroups::Cgroups;
use crate::context::{Context, Services};
use crate::dns::{NodeDns, ResolvConf};
use crate::downward::NodeFacts;
use crate::engine::Engine;
use crate::events::{Events, EventsTask};
use crate::images::Images;
use crate::k8s::{Pod, Service as KubeService, name};
use crate::manager::Manager;
use crate::metrics::Metrics;
use crate::names::{POD_UID, Paths};
use crate::node::facts::{self, Machine};
use crate::node::object::labels;
use crate::node::sync::NodeSync;
use crate::objects::Objects;
use crate::options::Options;
use crate::probes::ask::Asker;
use crate::quantity::{milli_of, units_of};
use crate::reflect::{self, Change};
use crate::status::StatusWriter;
use crate::volumes::Volumes;
use crate::{housekeeping, manifests, node, runtime_events, server};
use base::{Clock, Shutdown};
use client::{Api, Client};
use parking_lot::RwLock;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// How often a runtime that does not answer yet is asked.
const RUNTIME_PAUSE: Duration = Duration::from_millis(100);
/// Sandboxes that may be made at once even on a machine of one CPU: making one waits for the disk and the network too.
const MIN_SANDBOX_TURNS: usize = 2;

/// What a kubelet stands on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The API server; `None` for a node of static pods alone.
    pub client: Option<Client>,
    /// The container runtime.
    pub runtime: cri::Runtime,
    /// Wall clock.
    pub clock: Clock,
    /// TLS of the kubelet's API; without it there is no API.
    pub tls: Option<server::Tls>,
}

/// Why a kubelet cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A directory cannot be made.
    #[error("{path}: {error}")]
    Directory {
        /// The directory.
        path: String,
        /// The refusal.
        error: std::io::Error,
    },
    /// The control groups cannot be made.
    #[error("control groups: {0}")]
    Cgroups(std::io::Error),
    /// The pause process's seccomp profile cannot be written.
    #[error("the pause process's seccomp profile: {0}")]
    PauseProfile(std::io::Error),
    /// The API's address cannot be listened on, or its TLS is wrong.
    #[error("the kubelet's API: {0}")]
    Server(#[from] server::ServerError),
}

/// A kubelet, built and not yet running.
#[derive(Debug)]
pub struct Service {
    options: Arc<Options>,
    deps: Deps,
    cx: Arc<Context>,
    machine: Arc<Machine>,
    events_task: EventsTask,
    ready: watch::Sender<bool>,
    handle: Handle,
}

/// A look at a running kubelet. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    ready: watch::Receiver<bool>,
}

impl Handle {
    /// Waits until the node has told the API that it is Ready. `false` if the kubelet has ended.
    pub async fn ready(&mut self) -> bool {
        self.ready.wait_for(|r| *r).await.is_ok()
    }
}

/// Answers every call with an error: a node without an API server.
#[derive(Debug)]
struct NoApi;

#[async_trait::async_trait]
impl client::Transport for NoApi {
    async fn send(
        &self,
        _request: http::Request<bytes::Bytes>,
    ) -> Result<http::Response<client::Body>, client::TransportError> {
        Err(client::TransportError::Request(
            "this node has no API server".to_owned(),
        ))
    }
}

impl Service {
    /// Makes directories and control groups. Nothing runs yet, and the runtime need not be up.
    pub fn build(mut options: Options, deps: Deps) -> Result<Self, BuildError> {
        for dir in [&options.root_dir, &options.pod_logs, &options.container_logs] {
            std::fs::create_dir_all(dir).map_err(|error| BuildError::Directory {
                path: dir.display().to_string(),
                error,
            })?;
        }
        if options.addresses.is_empty() {
            options.addresses.extend(primary_address());
        }
        let machine = Machine::read(&options);
        let cgroups = options.cgroup_root.as_deref().map(Cgroups::detect);
        if let Some(groups) = &cgroups {
            let all = crate::resources::LinuxResources {
                cpu_shares: crate::resources::shares(
                    milli_of(Some(&machine.allocatable), "cpu").unwrap_or(0),
                ),
                ..Default::default()
            };
            groups.ensure_roots(&all).map_err(BuildError::Cgroups)?;
        }
        let client = deps
            .client
            .clone()
            .unwrap_or_else(|| Client::new(Arc::new(NoApi)));
        let metrics = Metrics::new(&options.node_name);
        let engine = Engine::new(deps.runtime.clone(), metrics.clone());
        let paths = Paths::new(
            options.root_dir.clone(),
            options.pod_logs.clone(),
            options.container_logs.clone(),
        );
        crate::config::pause_profile::write(&paths).map_err(BuildError::PauseProfile)?;
        let objects = Objects::new(client.clone(), deps.clock.clone());
        let (events, events_task) = Events::new(client.clone(), &options.node_name, deps.clock.clone());
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let cx = Context {
            node_name: options.node_name.clone(),
            images: Images::new(engine.clone(), deps.clock.clone()),
            volumes: Volumes::new(paths.clone(), objects.clone(), deps.clock.clone()),
            objects,
            paths,
            cgroups,
            status: StatusWriter::new(client),
            events,
            asker: Asker::new(engine.clone()),
            engine,
            metrics,
            clock: deps.clock.clone(),
            dns: NodeDns {
                cluster_dns: options.cluster_dns.iter().map(ToString::to_string).collect(),
                cluster_domain: options.cluster_domain.clone(),
                host: ResolvConf::parse(&read(&options.resolv_conf)),
            },
            hosts_file: read(&options.hosts_file),
            facts: RwLock::new(NodeFacts {
                host_ips: options.addresses.iter().map(ToString::to_string).collect(),
                pod_ips: Vec::new(),
                allocatable_milli_cpu: milli_of(Some(&machine.allocatable), "cpu").unwrap_or(0),
                allocatable_memory: units_of(Some(&machine.allocatable), "memory").unwrap_or(0),
                allocatable_storage: units_of(Some(&machine.allocatable), "ephemeral-storage").unwrap_or(0),
            }),
            memory_capacity: units_of(Some(&machine.capacity), "memory").unwrap_or(0),
            oom_floor: facts::oom_floor(),
            services: Services::default(),
            sandbox_turns: Semaphore::new(facts::cpus().max(MIN_SANDBOX_TURNS)),
        };
        let (ready, watched) = watch::channel(false);
        Ok(Self {
            options: Arc::new(options),
            deps,
            cx: Arc::new(cx),
            machine: Arc::new(machine),
            events_task,
            ready,
            handle: Handle { ready: watched },
        })
    }

    /// A look at the kubelet while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs the node until `shutdown`. Pods keep running after it.
    ///
    /// # Errors
    /// If the kubelet's API cannot be served.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), server::ServerError> {
        let own = shutdown.child();
        let Some(inherited) = shutdown.run_until(self.inherited()).await else {
            return Ok(());
        };
        let cx = self.cx.clone();
        let node_labels = labels(&self.options, &self.machine);
        let manager = Manager::new(
            cx.clone(),
            inherited,
            node_labels,
            self.machine.allocatable.clone(),
            own.clone(),
        );
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(runtime_events::run(
            cx.engine.clone(),
            manager.clone(),
            own.clone(),
        ));
        tasks.spawn(housekeeping::run(
            cx.clone(),
            manager.clone(),
            self.options.logs,
            own.clone(),
        ));
        if let Some(dir) = self.options.manifests.clone() {
            tasks.spawn(manifests::run(
                dir,
                self.options.node_name.clone(),
                manager.clone(),
                own.clone(),
            ));
        }
        match &self.deps.client {
            Some(client) => {
                tasks.spawn(self.events_task.run(own.clone()));
                let sync = NodeSync {
                    options: self.options.clone(),
                    machine: self.machine.clone(),
                    client: client.clone(),
                    engine: cx.engine.clone(),
                    clock: cx.clock.clone(),
                    events: cx.events.clone(),
                    ready: self.ready.clone(),
                };
                tasks.spawn(sync.run(own.clone()));
                let (node, clock) = (self.options.node_name.clone(), cx.clock.clone());
                tasks.spawn(node::lease::run(client.clone(), node, clock, own.clone()));
                tasks.spawn(watch_services(client.clone(), cx.clone(), own.clone()));
                tasks.spawn(watch_pods(
                    client.clone(),
                    cx.clone(),
                    manager.clone(),
                    own.clone(),
                ));
                let node = self.options.node_name.clone();
                tasks.spawn(manifests::mirror(
                    client.clone(),
                    node,
                    manager.clone(),
                    own.clone(),
                ));
            }
            None => {
                cx.services.none();
                // Static pods have been read at least once when this is over.
                let (cx, manager, own) = (cx.clone(), manager.clone(), own.clone());
                tasks.spawn(async move {
                    let wait = own.run_until(tokio::time::sleep(Duration::from_secs(10))).await;
                    if wait.is_some() {
                        housekeeping::remove_orphans(&cx, manager.take_unclaimed()).await;
                    }
                });
            }
        }
        let served = match (self.options.listen, self.deps.tls.clone()) {
            (Some(address), Some(tls)) => {
                let api = server::Server::new(cx.clone(), manager.clone(), self.machine.clone());
                api.run(address, tls, own.clone()).await
            }
            _ => {
                shutdown.triggered().await;
                Ok(())
            }
        };
        own.trigger();
        while tasks.join_next().await.is_some() {}
        served
    }

    /// The pods that the runtime has, once it answers.
    async fn inherited(&self) -> HashSet<String> {
        loop {
            match self.cx.engine.sandboxes(None).await {
                Ok(sandboxes) => {
                    return sandboxes
                        .into_iter()
                        .filter_map(|s| s.labels.get(POD_UID).cloned())
                        .collect();
                }
                Err(status) => {
                    tracing::debug!("waiting for the container runtime: {}", status.message());
                    tokio::time::sleep(RUNTIME_PAUSE).await;
                }
            }
        }
    }
}

async fn watch_services(client: Client, cx: Arc<Context>, shutdown: Shutdown) {
    let api = Api::<KubeService>::all(&client);
    reflect::run(api, String::new(), shutdown, move |change| {
        cx.services.apply(change)
    })
    .await;
}

async fn watch_pods(client: Client, cx: Arc<Context>, manager: Manager, shutdown: Shutdown) {
    let api = Api::<Pod>::all(&client);
    let mut first = true;
    let fields = format!("spec.nodeName={}", cx.node_name);
    reflect::run(api, fields, shutdown, move |change| {
        let synced = matches!(change, Change::Synced);
        if let Change::Put(pod) = &change {
            tracing::debug!(pod = name(&pod.metadata), "pod from the API server");
        }
        manager.apply(change);
        if synced && std::mem::take(&mut first) {
            let (cx, manager) = (cx.clone(), manager.clone());
            tokio::spawn(async move {
                housekeeping::remove_orphans(&cx, manager.take_unclaimed()).await;
                housekeeping::remove_orphaned_directories(&cx, &manager).await;
            });
        }
    })
    .await;
}

/// The address that packets to elsewhere leave from; nothing is sent.
fn primary_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // A documentation address (RFC 5737): connecting a datagram socket only looks up the route.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|a| a.ip())
}
