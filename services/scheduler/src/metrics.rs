//! What the scheduler tells an operator: `scheduler_*`, with the names, labels and buckets of kube-scheduler.
//!
//! The process's sums, without a label for the cluster: thousands of clusters share a scheduler. Gauges move with the pods,
//! so that nothing is walked when somebody reads, and a cluster in which nothing happens costs nothing.

use crate::cluster::Decision;
use crate::queue::Attempt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use scheduling::Pod;
use std::sync::Arc;
use std::time::Duration;

/// Where a pod waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Active,
    Backoff,
    Unschedulable,
    Gated,
}

impl Line {
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backoff => "backoff",
            Self::Unschedulable => "unschedulable",
            Self::Gated => "gated",
        }
    }

    /// Upstream keeps gated pods among the unschedulable ones, and counts them as coming there.
    fn joined(self) -> &'static str {
        match self {
            Self::Gated => Self::Unschedulable.name(),
            other => other.name(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queued {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Incoming {
    queue: &'static str,
    event: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tried {
    result: &'static str,
    profile: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tries {
    attempts: &'static str,
}

/// Upstream's values: each number up to 14, then one for all others.
fn tries(count: u32) -> &'static str {
    const NUMBERS: [&str; 15] = [
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14",
    ];
    let index = usize::try_from(count).unwrap_or(usize::MAX);
    NUMBERS.get(index).copied().unwrap_or("15+")
}

/// From a millisecond to sixteen seconds.
fn short() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// From ten milliseconds to an hour and a half.
fn long() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 20))
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of a process's scheduler. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    attempts: Family<Tried, Counter>,
    attempt_seconds: Histograms<Tried>,
    algorithm_seconds: Histogram,
    pod_seconds: Histograms<Tries>,
    pod_attempts: Histogram,
    pending: Family<Queued, Gauge>,
    incoming: Family<Incoming, Counter>,
    preemptions: Counter,
    victims: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let pending = Family::<Queued, Gauge>::default();
        // There from the beginning, so that nobody takes none for unknown.
        for line in [Line::Active, Line::Backoff, Line::Unschedulable, Line::Gated] {
            drop(pending.get_or_create(&Queued { queue: line.name() }));
        }
        Self(Arc::new(Inner {
            attempts: Family::default(),
            attempt_seconds: Family::new_with_constructor(short),
            algorithm_seconds: short(),
            pod_seconds: Family::new_with_constructor(long),
            pod_attempts: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            pending,
            incoming: Family::default(),
            preemptions: Counter::default(),
            victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
        }))
    }
}

impl Metrics {
    /// Makes the metrics readable through a registry.
    pub fn register(&self, registry: &mut Registry) {
        let inner = &*self.0;
        registry.register(
            "scheduler_schedule_attempts",
            "Attempts to schedule pods, by result: 'unschedulable' means that no node would do, 'error' that something failed",
            inner.attempts.clone(),
        );
        registry.register(
            "scheduler_scheduling_attempt_duration_seconds",
            "How long an attempt takes: the algorithm, and the binding if there is one",
            inner.attempt_seconds.clone(),
        );
        registry.register(
            "scheduler_scheduling_algorithm_duration_seconds",
            "How long the algorithm takes to find a node",
            inner.algorithm_seconds.clone(),
        );
        registry.register(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "From a pod's entry into the queue to its binding, over all attempts",
            inner.pod_seconds.clone(),
        );
        registry.register(
            "scheduler_pod_scheduling_attempts",
            "How many attempts it took to schedule a pod",
            inner.pod_attempts.clone(),
        );
        registry.register(
            "scheduler_pending_pods",
            "Pods that wait for a node, by queue: 'active' are next, 'backoff' pause, 'unschedulable' were tried in vain, \
             'gated' are not tried because of their gates",
            inner.pending.clone(),
        );
        registry.register(
            "scheduler_queue_incoming_pods",
            "Pods added to queues, by queue and event",
            inner.incoming.clone(),
        );
        registry.register(
            "scheduler_preemption_attempts",
            "Attempts to make room by preemption",
            inner.preemptions.clone(),
        );
        registry.register(
            "scheduler_preemption_victims",
            "How many pods were preempted for one",
            inner.victims.clone(),
        );
    }

    pub(crate) fn entered(&self, line: Option<Line>, event: &'static str) {
        let Some(line) = line else { return };
        let queue = line.name();
        self.0.pending.get_or_create(&Queued { queue }).inc();
        let queue = line.joined();
        self.0.incoming.get_or_create(&Incoming { queue, event }).inc();
    }

    pub(crate) fn left(&self, line: Option<Line>) {
        let Some(line) = line else { return };
        let queue = line.name();
        self.0.pending.get_or_create(&Queued { queue }).dec();
    }

    /// A decision was made, and took so long.
    pub(crate) fn decided(&self, decision: &Decision, took: Duration) {
        match decision {
            Decision::Bind { .. } => self.0.algorithm_seconds.observe(took.as_secs_f64()),
            Decision::Refused { pod, .. } => self.tried("unschedulable", pod, took),
        }
    }

    /// Preemption was tried, with or without success.
    pub(crate) fn preempting(&self) {
        self.0.preemptions.inc();
    }

    /// Pods are sent away for one.
    pub(crate) fn preempted(&self, victims: usize) {
        self.0.victims.observe(victims as f64);
    }

    /// A pod was bound.
    pub(crate) fn scheduled(&self, pod: &Pod, attempt: Attempt) {
        self.tried("scheduled", pod, attempt.began.elapsed());
        self.0.pod_attempts.observe(f64::from(attempt.count));
        let attempts = tries(attempt.count);
        self.0
            .pod_seconds
            .get_or_create(&Tries { attempts })
            .observe(attempt.since.elapsed().as_secs_f64());
    }

    /// A pod that had a node could not be bound.
    pub(crate) fn failed(&self, pod: &Pod, attempt: Attempt) {
        self.tried("error", pod, attempt.began.elapsed());
    }

    fn tried(&self, result: &'static str, pod: &Pod, took: Duration) {
        let profile = pod.scheduler.clone();
        let tried = Tried { result, profile };
        self.0.attempts.get_or_create(&tried).inc();
        self.0
            .attempt_seconds
            .get_or_create(&tried)
            .observe(took.as_secs_f64());
    }
}
