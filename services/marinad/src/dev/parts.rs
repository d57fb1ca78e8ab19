//! Builds the parts in the order of what they need, and starts them.

use super::{Options, controllers, management, sim};
use crate::access::ThroughApiServer;
use crate::clients::InProcessClients;
use crate::images::Images;
use crate::state_dir::StateDir;
use crate::user_data::UserData;
use crate::{clouds, metrics, rest};
use anyhow::{Context, Result};
use apiserver::audit::{FileOptions, Files, Sink};
use apiserver::{ApiServer, Listener};
use auth::{Authenticator, Authorizer, Directory};
use base::{Clock, Shutdown};
use cloud_api::CloudError;
use cloud_local::LocalCloud;
use cloud_sim::SimCloud;
use provider::records::Records;
use provider::{Clouds, ClusterDirectory};
use runtime::Clients;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use store_api::Store;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Server names end with this.
const DOMAIN: &str = "marina.local";
/// Where the `kubernetes` Service leads inside clusters: an address that each node binds to its tunnel.
const ENDPOINT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 95, 0, 1)), 6443);
/// Clusters get addresses from here on, a /10 of the loopback range.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);
const ADDRESSES: u32 = 1 << 22;
/// The project that exists from the beginning.
const PROJECT: &str = "default";
/// How long parts may take to end.
const DRAIN: Duration = Duration::from_secs(20);

/// What runs.
pub(super) struct Parts {
    tasks: JoinSet<()>,
    store_shutdown: Shutdown,
    store: Option<JoinHandle<()>>,
}

impl Parts {
    /// Waits until everything has ended after the stop, the store last.
    pub(super) async fn drained(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::warn!("some parts did not end in time");
        }
        self.tasks.shutdown().await;
        self.store_shutdown.trigger();
        if let Some(task) = self.store
            && tokio::time::timeout(DRAIN, task).await.is_err()
        {
            tracing::warn!("the store did not end in time");
        }
    }
}

/// Starts everything; when it returns, every door is open.
pub(super) async fn start(options: &Options, state: &StateDir, shutdown: &Shutdown) -> Result<Parts> {
    let clock = Clock::system();
    let mut tasks = JoinSet::new();
    let store_shutdown = Shutdown::new();
    let (store, store_task) = open_store(options, state, &clock, &store_shutdown).await?;

    let local = if options.no_local_cloud {
        None
    } else {
        open_local(options, state).await?
    };
    let simulated = SimCloud::new(cloud_sim::Options::default());
    let mut all: Clouds = Clouds::new();
    all.insert(service_api::Cloud::Sim, Arc::new(simulated.clone()));
    if let Some(local) = &local {
        all.insert(service_api::Cloud::Local, Arc::new(local.clone()));
    }

    let directory = Arc::new(ClusterDirectory::new(DOMAIN));
    let tunnels = tunnel::TunnelServer::new();
    let audit = audit_log(options, state, &clock)?;
    let server = api_server(&store, directory.clone(), &clock, shutdown, &tunnels, &audit);
    let clients: Arc<dyn Clients> = Arc::new(InProcessClients(server.clone()));
    let management = management::keys(state, &clock)?;
    let records = Records::new(store.clone());
    let images = oci::Store::open(&state.join("registry")).context("cannot open the registry")?;
    if let Some(local) = &local {
        start_registry(&images, local, &mut tasks, shutdown).await?;
        start_relay(local, &mut tasks, shutdown);
    }
    let (waker, wakes) = provider::flows::Waker::new();
    let (service, handle) = provider::Service::build(
        provider::Deps {
            options: provider::Options {
                first_address: FIRST_ADDRESS,
                addresses: ADDRESSES,
                api_port: options.api_port,
                default_cloud: all.keys().next().copied().unwrap_or(service_api::Cloud::Sim),
                default_project: PROJECT.into(),
            },
            store: store.clone(),
            records: records.clone(),
            directory: directory.clone(),
            access: Arc::new(ThroughApiServer {
                server: server.clone(),
                tunnels: tunnels.clone(),
                endpoint: ENDPOINT,
            }),
            user_data: Arc::new(UserData {
                clock: clock.clone(),
                server: SocketAddr::new(options.local.under(state).gateway().into(), options.api_port),
                domain: DOMAIN.into(),
                endpoint: ENDPOINT,
                region: "local".into(),
                otlp_endpoint: options.node_otlp_endpoint.as_ref().map(ToString::to_string),
                types: all
                    .values()
                    .filter_map(|c| c.instances())
                    .flat_map(|i| i.types())
                    .collect(),
            }),
            images: Some(Arc::new(Images(images))),
            clouds: all.clone(),
            node_image: String::new(),
            clock: clock.clone(),
            waker,
        },
        wakes,
    )
    .await?;
    tasks.spawn(service.run(shutdown.clone()));

    let components = metrics::Components::default();
    let behind = Behind {
        server: &server,
        tunnels,
        audit,
        handle: &handle,
        management: &management,
        local: local.as_ref(),
        metrics: &components,
    };
    open_doors(options, behind, &mut tasks, shutdown).await?;
    let deps = controllers::Deps {
        store: &store,
        clients: &clients,
        clock: &clock,
        records: &records,
        clouds: &all,
        directory,
        metrics: &components,
    };
    let informers = controllers::start(&deps, &mut tasks, shutdown);
    let fleet = fake_node::Fleet::spawn(
        fake_node::Options::default(),
        fake_node::Deps {
            informers,
            clients,
            clock: clock.clone(),
        },
        shutdown.clone(),
    );
    tasks.spawn(sim::follow(simulated, fleet, shutdown.clone()));
    if let Some(local) = &local {
        tasks.spawn(local.balancer_service().run(shutdown.clone()));
    }
    let endpoint = format!("https://127.0.0.1:{}", options.rest_port);
    let config = options.config.as_deref();
    let config = management::write_config(config, &endpoint, &management, &handle, PROJECT).await?;
    tracing::info!(config = %config.display(), %endpoint, "the service is up");
    Ok(Parts {
        tasks,
        store_shutdown,
        store: store_task,
    })
}

/// The embedded cloud with its image and its network; `None` without the rights it needs.
async fn open_local(options: &Options, state: &StateDir) -> Result<Option<LocalCloud>> {
    match options.local.open(state) {
        Ok(local) => {
            clouds::build(&options.local, state, None).await?;
            local
                .ensure_network()
                .await
                .context("cannot make the machines' network")?;
            Ok(Some(local))
        }
        Err(CloudError::Denied(_)) => Ok(None),
        Err(error) => Err(error).context("cannot open the embedded cloud"),
    }
}

async fn open_store(
    options: &Options,
    state: &StateDir,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<(Arc<dyn Store>, Option<JoinHandle<()>>)> {
    if options.memory {
        let store = store_mem::MemStore::new(store_mem::EngineOptions::default(), clock.clone());
        return Ok((Arc::new(store), None));
    }
    let settings = store_raft::Options::single(state.join("store"));
    let opened = store_raft::open(settings, clock.clone(), Arc::new(store_raft::Alone)).await;
    let (store, service) = opened.context("cannot open the store")?;
    let shutdown = shutdown.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = service.run(shutdown).await {
            tracing::error!(%error, "the store stopped");
        }
    });
    Ok((Arc::new(store), Some(task)))
}

/// Who did what in which cluster, below the state directory; nothing where nothing is to be kept.
fn audit_log(options: &Options, state: &StateDir, clock: &Clock) -> Result<Option<Arc<Files>>> {
    if options.memory {
        return Ok(None);
    }
    let mut files = FileOptions::new(state.join("audit"));
    files.max_size = options.audit_log_maxsize.max(1) << 20;
    files.max_backups = options.audit_log_maxbackup;
    files.max_age = jiff::SignedDuration::from_hours(24 * i64::from(options.audit_log_maxage));
    let files = Files::start(files, clock.clone()).context("cannot open the audit log")?;
    Ok(Some(Arc::new(files)))
}

fn api_server(
    store: &Arc<dyn Store>,
    directory: Arc<dyn Directory>,
    clock: &Clock,
    shutdown: &Shutdown,
    tunnels: &tunnel::TunnelServer,
    audit: &Option<Arc<Files>>,
) -> ApiServer {
    let decoder = apiserver::StoreDecoder::new(directory.clone());
    let objects = auth::Objects::new(store.clone(), decoder);
    let anonymous = auth::AnonymousPolicy::HealthPaths;
    ApiServer::builder(apiserver::Deps {
        store: store.clone(),
        directory,
        authenticator: Arc::new(Authenticator::new(objects.clone(), clock.clone(), anonymous)),
        authorizer: Arc::new(Authorizer::new(objects)),
        clock: clock.clone(),
        shutdown: shutdown.clone(),
    })
    .options(apiserver::Options {
        dialer: Some(Arc::new(tunnels.clone())),
        audit: audit.clone().map(|files| -> Arc<dyn Sink> { files }),
        ..apiserver::Options::default()
    })
    .build()
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

async fn start_registry(
    images: &oci::Store,
    local: &LocalCloud,
    tasks: &mut JoinSet<()>,
    shutdown: &Shutdown,
) -> Result<()> {
    let busybox = cloud_local::node_image_busybox(&local.options().image_dir);
    oci::seeds::install(images, busybox.as_deref()).context("cannot make the images that Marina brings")?;
    let socket = listen(SocketAddr::new(
        local.options().gateway().into(),
        clouds::REGISTRY_PORT,
    ))
    .await?;
    let (registry, shutdown) = (oci::Registry::new(images.clone()), shutdown.clone());
    tasks.spawn(async move {
        if let Err(error) = registry.run(socket, shutdown).await {
            tracing::error!(%error, "the registry stopped");
        }
    });
    Ok(())
}

/// Names for the machines, whose `resolv.conf` leads to their gateway.
fn start_relay(local: &LocalCloud, tasks: &mut JoinSet<()>, shutdown: &Shutdown) {
    let at = SocketAddr::new(local.options().gateway().into(), 53);
    let relay = node_network::dns::relay(vec![at], "/etc/resolv.conf".into(), shutdown.clone());
    tasks.spawn(async move {
        if let Err(error) = relay.await {
            tracing::warn!(%error, "machines resolve no names outside of their cluster");
        }
    });
}

/// What is behind the doors.
struct Behind<'a> {
    server: &'a ApiServer,
    tunnels: tunnel::TunnelServer,
    audit: Option<Arc<Files>>,
    handle: &'a provider::Handle,
    management: &'a pki::ClusterKeys,
    local: Option<&'a LocalCloud>,
    metrics: &'a metrics::Components,
}

async fn open_doors(
    options: &Options,
    behind: Behind<'_>,
    tasks: &mut JoinSet<()>,
    shutdown: &Shutdown,
) -> Result<()> {
    let Behind {
        server,
        tunnels,
        audit,
        handle,
        management,
        local,
        metrics: components,
    } = behind;
    let rest_socket = listen((Ipv4Addr::LOCALHOST, options.rest_port).into()).await?;
    tasks.spawn(rest::serve(
        rest_socket,
        rest::tls(management)?,
        handle.router(metrics::routes(server.clone(), audit, components)),
        shutdown.clone(),
    ));
    // One socket for all clusters' addresses. It is bound to every address of the machine, because a range cannot be
    // bound; the listener turns away what did not come to a loopback address or to the machines' gateway.
    let api_socket = listen((Ipv4Addr::UNSPECIFIED, options.api_port).into()).await?;
    let gateway = local.map(|l| IpAddr::from(l.options().gateway()));
    let listener = Listener::new(server.clone(), api_socket)
        .tunnels(tunnels)
        .only_at(move |address| address.is_loopback() || Some(address) == gateway);
    tasks.spawn(listener.run(shutdown.clone()));
    Ok(())
}
