//! The list of controllers, and how they are run.

use crate::kinds::{ReplicaSet, ReplicationController};
use base::{Clock, Shutdown};
use runtime::leadership::Leadership;
use runtime::{Clients, Controller, Informers, ManagerDeps, QueueMetrics, Recorder, Source, manager};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// What can be set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Controllers that are not run, by name.
    pub disabled: Vec<String>,
}

/// What the controllers need from outside.
#[derive(Clone)]
pub struct Deps {
    /// Where events come from: the store across clusters, or one API server.
    pub source: Arc<dyn Source>,
    /// Clients of clusters.
    pub clients: Arc<dyn Clients>,
    /// Which clusters are ours.
    pub leadership: Arc<dyn Leadership>,
    /// Each cluster's CA certificate (PEM), for `kube-root-ca.crt`.
    pub ca: crate::CaOf,
    /// Each cluster's pod addresses, for nodes' `podCIDR`.
    pub pod_ranges: crate::PodRanges,
    /// The time.
    pub clock: Clock,
    /// Where the queues are counted.
    pub metrics: QueueMetrics,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deps")
    }
}

/// Every controller. The order is that of `--controllers` upstream: none that matters.
pub fn all(deps: &Deps) -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(crate::namespace::Namespaces),
        Arc::new(crate::serviceaccount::ServiceAccounts),
        Arc::new(crate::root_ca::RootCa::new(deps.ca.clone())),
        Arc::new(crate::replicaset::Replicas::<ReplicaSet>::default()),
        Arc::new(crate::replicaset::Replicas::<ReplicationController>::default()),
        Arc::new(crate::deployment::Deployments),
        Arc::new(crate::daemonset::DaemonSets::default()),
        Arc::new(crate::statefulset::StatefulSets),
        Arc::new(crate::job::Jobs),
        Arc::new(crate::cronjob::CronJobs),
        Arc::new(crate::ttl_after_finished::TtlAfterFinished),
        Arc::new(crate::disruption::Disruption),
        Arc::new(crate::endpoints::EndpointsController),
        Arc::new(crate::endpointslice::EndpointSlices),
        Arc::new(crate::node_ipam::NodeIpam::new(deps.pod_ranges.clone())),
        Arc::new(crate::node_lifecycle::NodeLifecycle::new(NODE_GRACE)),
        Arc::new(crate::taint_eviction::TaintEviction),
        Arc::new(crate::pod_gc::PodGc),
        Arc::new(crate::garbage_collector::GarbageCollector::default()),
    ]
}

/// How long a node may be silent before it counts as lost.
const NODE_GRACE: Duration = Duration::from_secs(40);

/// The user agent of the role, and with it the field manager.
const ROLE: &str = "kube-controller-manager";

/// Runs the controllers until `shutdown`.
pub async fn run(options: Options, deps: Deps, shutdown: Shutdown) {
    let (recorder, events) = Recorder::new(deps.clients.clone(), ROLE, deps.clock.clone());
    let writer = tokio::spawn(events.run(shutdown.clone()));
    let informers = Informers::new(deps.source.clone(), shutdown.clone());
    let mut controllers = all(&deps);
    controllers.retain(|c| !options.disabled.iter().any(|d| d == c.name()));
    let manager = ManagerDeps {
        informers,
        clients: deps.clients,
        leadership: deps.leadership,
        recorder,
        clock: deps.clock,
        role: ROLE,
        metrics: deps.metrics,
    };
    manager::run(manager, controllers, shutdown).await;
    if let Err(error) = writer.await {
        tracing::warn!(%error, "the writer of events failed");
    }
}
