//! All clusters that have pods or nodes, fed by the informers.
//!
//! One lock: a change is a short, synchronous update, and the loop holds it for one decision at a time.

use crate::cluster::{Cluster, Decision};
use crate::metrics::Metrics;
use base::ClusterId;
use machinery::Value;
use machinery::codec::{json, proto};
use parking_lot::Mutex;
use runtime::{Change, Entry};
use scheduling::{Framework, Pod, PodKey};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::Notify;
use tokio::time::Instant;

/// See the module.
pub(crate) struct World {
    scheduler: String,
    clusters: Mutex<Clusters>,
    wake: Notify,
    metrics: Metrics,
}

#[derive(Default)]
struct Clusters {
    all: BTreeMap<ClusterId, Cluster>,
    /// Those with something to decide or a pause to end, in the order of their turns.
    ready: BTreeSet<ClusterId>,
    last: Option<ClusterId>,
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Something was decided.
    Decided(ClusterId, Decision),
    /// Nothing until this moment, or until a wake.
    Idle(Option<Instant>),
}

fn tree(entry: &Entry) -> Option<Value> {
    let tree = if entry.value.starts_with(b"k8s\0") {
        proto::decode(&entry.value, api::newest()).map(|(_, tree)| tree)
    } else {
        json::parse(&entry.value)
    };
    match tree {
        Ok(tree) => Some(tree),
        Err(error) => {
            tracing::warn!(key = %entry.key, %error, "an object cannot be read, and is not scheduled on");
            None
        }
    }
}

fn key_of(change: &Change) -> PodKey {
    let key = &change.entry().key;
    PodKey {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
    }
}

impl World {
    pub(crate) fn new(scheduler: String, metrics: Metrics) -> Self {
        Self {
            scheduler,
            clusters: Mutex::default(),
            wake: Notify::new(),
            metrics,
        }
    }

    fn update(&self, id: &ClusterId, change: impl FnOnce(&mut Cluster, Instant)) {
        let mut clusters = self.clusters.lock();
        let cluster = clusters
            .all
            .entry(id.clone())
            .or_insert_with(|| Cluster::new(self.metrics.clone()));
        change(cluster, Instant::now());
        if cluster.is_empty() {
            clusters.all.remove(id);
            clusters.ready.remove(id);
        } else if cluster.queue.has_active() || cluster.queue.next_timer().is_some() {
            clusters.ready.insert(id.clone());
            drop(clusters);
            self.wake.notify_one();
        }
    }

    pub(crate) fn pod(&self, change: &Change) {
        match &change.new {
            Some(entry) => {
                if let Some(tree) = tree(entry) {
                    self.update(&change.cluster, |c, now| c.pod(&tree, &self.scheduler, now));
                }
            }
            None => self.update(&change.cluster, |c, now| c.pod_gone(&key_of(change), now)),
        }
    }

    pub(crate) fn budget(&self, change: &Change) {
        match &change.new {
            Some(entry) => {
                if let Some(tree) = tree(entry) {
                    self.update(&change.cluster, |c, _| c.budget(&tree));
                }
            }
            None => self.update(&change.cluster, |c, _| c.budget_gone(&key_of(change))),
        }
    }

    pub(crate) fn node(&self, change: &Change) {
        match &change.new {
            Some(entry) => {
                if let Some(tree) = tree(entry) {
                    self.update(&change.cluster, |c, now| c.node(&tree, now));
                }
            }
            None => self.update(&change.cluster, |c, _| c.node_gone(&change.entry().key.name)),
        }
    }

    pub(crate) fn bound(&self, id: &ClusterId, pod: &Pod) {
        self.update(id, |c, _| c.bound(pod));
    }

    pub(crate) fn not_bound(&self, id: &ClusterId, pod: &Pod, again: bool) {
        self.update(id, |c, now| c.not_bound(pod, again, now));
    }

    pub(crate) fn not_preempted(&self, id: &ClusterId, pod: &Pod) {
        self.update(id, |c, now| c.not_preempted(pod, now));
    }

    /// Waits for a change.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Wakes the loop: slots may have been gained.
    pub(crate) fn poke(&self) {
        let mut clusters = self.clusters.lock();
        let all: Vec<_> = clusters.all.keys().cloned().collect();
        clusters.ready.extend(all);
        drop(clusters);
        self.wake.notify_one();
    }

    /// Decides on one pod of the next cluster in turn that may be acted on.
    pub(crate) fn next(
        &self,
        framework: &Framework,
        mine: impl Fn(&ClusterId) -> bool,
        dice: &mut dyn FnMut(usize) -> usize,
    ) -> Work {
        let mut clusters = self.clusters.lock();
        let clusters = &mut *clusters;
        let now = Instant::now();
        let mut earliest: Option<Instant> = None;
        let after = clusters.last.take();
        let start = after
            .as_ref()
            .map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let behind = clusters
            .ready
            .range::<ClusterId, _>((start, std::ops::Bound::Unbounded));
        let order: Vec<ClusterId> = behind
            .chain(clusters.ready.iter())
            .take(clusters.ready.len())
            .cloned()
            .collect();
        for id in order {
            if !mine(&id) {
                continue;
            }
            let Some(cluster) = clusters.all.get_mut(&id) else {
                clusters.ready.remove(&id);
                continue;
            };
            cluster.queue.tick(now);
            if let Some(decision) = cluster.decide(framework, dice, now) {
                self.metrics.decided(&decision, now.elapsed());
                clusters.last = Some(id.clone());
                return Work::Decided(id, decision);
            }
            match cluster.queue.next_timer() {
                Some(at) => earliest = Some(earliest.map_or(at, |e| e.min(at))),
                None => {
                    clusters.ready.remove(&id);
                }
            }
        }
        Work::Idle(earliest)
    }
}
