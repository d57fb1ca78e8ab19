//! The API server: every Kubernetes kind of every cluster of the process, over one store.
//!
//! A request goes through one [`pipeline`]: identity from the connection, fairness by cluster, authorization, then one generic
//! [`registry`] for all kinds, then an answer in the form the client wants ([`encode`]). Nothing is kept per cluster: a cluster
//! without requests owns no task, timer or connection here.
//!
//! Three doors lead in: [`ApiServer::handle`] itself, the TLS listener in [`serve`], and [`InProcess`], a
//! `client::Transport` by which controllers and tests use the same handler without sockets.

pub mod admission;
mod alloc;
pub mod audit;
pub mod bootstrap;
pub mod codec;
mod convert;
pub mod cx;
mod decoder;
pub mod discovery;
pub mod encode;
mod fairness;
mod health;
mod in_process;
pub mod kind;
mod lease;
pub mod limits;
mod metered;
pub mod metrics;
pub mod negotiate;
mod openapi;
pub mod pipeline;
pub mod query;
pub mod reader;
pub mod registry;
pub mod request_info;
pub mod selection;
pub mod serve;
pub mod status;
pub mod storage;
pub mod subresources;

pub use client::Body;
pub use decoder::StoreDecoder;
pub use in_process::InProcess;
pub use pipeline::Connection;
pub use serve::Listener;

use auth::{Authenticator, Authorizer, Cluster, Directory};
use base::{Clock, ClusterId, Shutdown};
use kind::KindTable;
use parking_lot::Mutex;
use reader::Reader;
use std::collections::HashMap;
use std::sync::Arc;
use store_api::Store;

/// What an API server is made of.
pub struct Deps {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Which clusters there are.
    pub directory: Arc<dyn Directory>,
    /// Who asks.
    pub authenticator: Arc<Authenticator>,
    /// Whether they may.
    pub authorizer: Arc<Authorizer>,
    /// What time it is.
    pub clock: Clock,
    /// When to stop: ends watches and drains connections.
    pub shutdown: Shutdown,
}

/// Settings with working defaults.
pub struct Options {
    /// Where audit events go; `None`: nowhere.
    pub audit: Option<Arc<dyn audit::Sink>>,
    /// Requests of one cluster in flight at a time; more are answered with 429.
    pub in_flight: usize,
    /// Long-running requests (watches, streams) of one cluster at a time.
    pub long_running: usize,
    /// Admission plugins.
    pub plugins: Vec<Arc<dyn admission::Plugin>>,
    /// How nodes, their kubelets and pods are reached; `None`: they are not, and what needs it answers 503.
    pub dialer: Option<Arc<dyn tunnel::Dialer>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            audit: None,
            in_flight: limits::IN_FLIGHT,
            long_running: limits::LONG_RUNNING,
            plugins: admission::plugins(),
            dialer: None,
        }
    }
}

/// The API server. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer(Arc<Inner>);

struct Inner {
    deps: Deps,
    options: Options,
    kinds: HashMap<u32, Arc<KindTable>>,
    handlers: Vec<Box<dyn subresources::Handler>>,
    fairness: fairness::Fairness,
    metrics: Arc<metrics::Metrics>,
    leases: lease::EventLeases,
    documents: openapi::Documents,
    discovery: discovery::Documents,
    bootstrap: Mutex<HashMap<u32, Arc<bootstrap::Shared>>>,
}

impl ApiServer {
    /// Begins to build one.
    pub fn builder(deps: Deps) -> Builder {
        Builder {
            deps,
            options: Options::default(),
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.deps.store
    }

    /// The clusters.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.0.deps.directory
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.deps.clock
    }

    /// When to stop.
    pub fn shutdown(&self) -> &Shutdown {
        &self.0.deps.shutdown
    }

    /// Who decides whether something is allowed.
    pub fn authorizer(&self) -> &Arc<Authorizer> {
        &self.0.deps.authorizer
    }

    /// Who finds out who asks.
    pub fn authenticator(&self) -> &Arc<Authenticator> {
        &self.0.deps.authenticator
    }

    /// How nodes are reached.
    pub fn dialer(&self) -> Option<&Arc<dyn tunnel::Dialer>> {
        self.0.options.dialer.as_ref()
    }

    /// The admission plugins.
    pub fn plugins(&self) -> &[Arc<dyn admission::Plugin>] {
        &self.0.options.plugins
    }

    /// The kinds of a minor version; those of the newest for one that is not known.
    pub fn kinds(&self, minor: u32) -> &Arc<KindTable> {
        self.0
            .kinds
            .get(&minor)
            .or_else(|| self.0.kinds.get(&api::NEWEST_MINOR))
            .expect("the newest version is always built")
    }

    /// Reads objects of a cluster.
    pub fn reader(&self, cluster: &Cluster) -> Reader {
        Reader::new(
            self.0.deps.store.clone(),
            self.kinds(cluster.minor).clone(),
            cluster.id.clone(),
        )
    }

    /// All metrics as OpenMetrics text, with a `cluster` label: for the operator.
    pub fn metrics_text(&self) -> String {
        self.0.metrics.of_all()
    }

    /// Drops what is remembered of a cluster that is gone (metrics, cached documents).
    pub fn forget(&self, cluster: &ClusterId) {
        self.0.metrics.forget(cluster);
        self.0.leases.forget(cluster);
    }

    /// The lease that a write of this kind is attached to: events end after an hour; 0 for everything else.
    pub(crate) async fn lease_for(&self, cluster: &ClusterId, kind: &kind::Kind) -> status::Result<i64> {
        if kind.resource.storage_prefix != "events" {
            return Ok(0);
        }
        self.0.leases.get(&self.0.deps.store, cluster, kind).await
    }
}

/// See [`ApiServer::builder`].
pub struct Builder {
    deps: Deps,
    options: Options,
}

impl Builder {
    /// Sets the options.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Builds the server. No task is started.
    pub fn build(self) -> ApiServer {
        let kinds: HashMap<u32, Arc<KindTable>> = api::catalogs()
            .map(|c| (c.minor, Arc::new(KindTable::new(c))))
            .collect();
        let fairness = fairness::Fairness::new(self.options.in_flight, self.options.long_running);
        let metrics = Arc::new(metrics::Metrics::default());
        let mut deps = self.deps;
        deps.store = Arc::new(metered::Metered::new(deps.store, metrics.clone()));
        ApiServer(Arc::new(Inner {
            deps,
            options: self.options,
            kinds,
            handlers: subresources::handlers(),
            fairness,
            metrics,
            leases: lease::EventLeases::default(),
            documents: openapi::Documents::default(),
            discovery: discovery::Documents::default(),
            bootstrap: Mutex::default(),
        }))
    }
}
