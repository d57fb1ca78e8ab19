//! Starts the scheduler and the controllers of all clusters.

use super::cloud_of::CloudOfRecords;
use crate::metrics::Components;
use base::{Clock, ClusterId, Shutdown};
use provider::Clouds;
use provider::records::Records;
use runtime::leadership::{Leadership, SlotOptions, StoreSlots};
use runtime::{Clients, Informers, ManagerDeps, Recorder, StoreSource};
use std::sync::Arc;
use store_api::Store;
use tokio::task::JoinSet;

/// What they stand on.
pub(super) struct Deps<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) clients: &'a Arc<dyn Clients>,
    pub(super) clock: &'a Clock,
    pub(super) records: &'a Records,
    pub(super) clouds: &'a Clouds,
    pub(super) directory: Arc<dyn auth::Directory>,
    pub(super) metrics: &'a Components,
}

/// Starts them. The informers that they share are returned for others.
pub(super) fn start(deps: &Deps<'_>, tasks: &mut JoinSet<()>, shutdown: &Shutdown) -> Arc<Informers> {
    let informers = Informers::new(Arc::new(StoreSource::new(deps.store.clone())), shutdown.clone());
    let mut role = |role: &'static str, slots: &str| -> ManagerDeps {
        let slots = StoreSlots::new(deps.store.clone(), SlotOptions::new(slots, member()));
        tasks.spawn(slots.clone().run(shutdown.clone()));
        let (recorder, writer) = Recorder::new(deps.clients.clone(), role, deps.clock.clone());
        tasks.spawn(writer.run(shutdown.clone()));
        let leadership: Arc<dyn Leadership> = slots;
        let (informers, clients, clock) = (informers.clone(), deps.clients.clone(), deps.clock.clone());
        ManagerDeps {
            informers,
            clients,
            leadership,
            recorder,
            clock,
            role,
            metrics: deps.metrics.queues.clone(),
        }
    };
    let schedules = role("kube-scheduler", "scheduler");
    let controls = role("kube-controller-manager", "controller-manager");
    let clouds = role("cloud-controller-manager", "cloud-controller-manager");

    let schedules = scheduler::Deps {
        informers: schedules.informers,
        clients: schedules.clients,
        leadership: schedules.leadership,
        recorder: schedules.recorder,
        clock: schedules.clock,
        metrics: deps.metrics.scheduler.clone(),
    };
    tasks.spawn(scheduler::run(
        scheduler::Options::default(),
        schedules,
        shutdown.clone(),
    ));
    let directory = deps.directory.clone();
    let ca = deps.directory.clone();
    let list = controllers::all(&controllers::Deps {
        source: Arc::new(StoreSource::new(deps.store.clone())),
        clients: deps.clients.clone(),
        leadership: controls.leadership.clone(),
        ca: Arc::new(move |id| ca.cluster(id).map(|c| c.keys.ca_pem.clone())),
        pod_ranges: Arc::new(move |id| pod_ranges(&*directory, id)),
        clock: deps.clock.clone(),
        metrics: deps.metrics.queues.clone(),
    });
    tasks.spawn(runtime::manager::run(controls, list, shutdown.clone()));
    let cloud_of = CloudOfRecords::new(deps.records.clone(), deps.clouds.clone());
    tasks.spawn(cloud_of.clone().follow(shutdown.clone()));
    tasks.spawn(runtime::manager::run(
        clouds,
        cloud_controllers::all(cloud_of),
        shutdown.clone(),
    ));
    informers
}

/// Addresses of a cluster's pods: a /24 for each node.
fn pod_ranges(directory: &dyn auth::Directory, id: &ClusterId) -> Vec<controllers::PodRange> {
    let range = directory.cluster(id).and_then(|cluster| {
        let (base, prefix) = cluster.pod_cidr.split_once('/')?;
        Some(controllers::PodRange {
            base: base.parse().ok()?,
            prefix: prefix.parse().ok()?,
            node_prefix: 24,
        })
    });
    range.into_iter().collect()
}

/// This process's name among those of its role.
fn member() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    format!("{host}-{}", std::process::id())
}
