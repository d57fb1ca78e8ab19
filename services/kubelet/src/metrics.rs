//! What the kubelet counts, under upstream's names and with its buckets, so that dashboards and alerts fit.
//!
//! What can be looked up when it is asked for (numbers of pods) is not counted here but in the server's answer.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    container_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeName {
    node: String,
}

type MakeHistogram = fn() -> Histogram;

fn operation_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.5, 14))
}

/// Upstream's buckets for the start of a pod, seconds.
const START: [f64; 17] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0,
];

/// The counters. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    operations: Family<Operation, Counter>,
    errors: Family<Operation, Counter>,
    durations: Family<Operation, Histogram, MakeHistogram>,
    pod_start: Histogram,
    pod_start_sli: Histogram,
    started_pods: Counter,
    started_containers: Family<Kind, Counter>,
    container_errors: Family<Kind, Counter>,
}

impl Metrics {
    /// Of the kubelet of this node.
    pub fn new(node: &str) -> Self {
        let mut registry = Registry::default();
        let operations = Family::<Operation, Counter>::default();
        let errors = Family::<Operation, Counter>::default();
        let durations =
            Family::<Operation, Histogram, MakeHistogram>::new_with_constructor(operation_buckets);
        // Below upstream's first bucket our pods would all look the same.
        let start = || Histogram::new([0.05, 0.1, 0.15, 0.2, 0.25, 0.35].into_iter().chain(START));
        let (pod_start, pod_start_sli) = (start(), start());
        let started_pods = Counter::default();
        let started_containers = Family::<Kind, Counter>::default();
        let container_errors = Family::<Kind, Counter>::default();
        let names = Family::<NodeName, prometheus_client::metrics::gauge::Gauge>::default();
        names
            .get_or_create(&NodeName {
                node: node.to_owned(),
            })
            .set(1);
        registry.register(
            "kubelet_node_name",
            "The node's name. The count is always 1",
            names,
        );
        registry.register(
            "kubelet_runtime_operations",
            "Cumulative number of runtime operations by operation type",
            operations.clone(),
        );
        registry.register(
            "kubelet_runtime_operations_errors",
            "Cumulative number of runtime operation errors by operation type",
            errors.clone(),
        );
        registry.register(
            "kubelet_runtime_operations_duration_seconds",
            "Duration in seconds of runtime operations, broken down by operation type",
            durations.clone(),
        );
        registry.register(
            "kubelet_pod_start_duration_seconds",
            "Duration in seconds from the kubelet seeing a pod for the first time to the pod running",
            pod_start.clone(),
        );
        registry.register(
            "kubelet_pod_start_total_duration_seconds",
            "Duration in seconds from a pod's creation to the pod running",
            pod_start_sli.clone(),
        );
        registry.register(
            "kubelet_started_pods",
            "Cumulative number of pods started",
            started_pods.clone(),
        );
        registry.register(
            "kubelet_started_containers",
            "Cumulative number of containers started",
            started_containers.clone(),
        );
        registry.register(
            "kubelet_started_containers_errors",
            "Cumulative number of errors when starting containers",
            container_errors.clone(),
        );
        Self(Arc::new(Inner {
            registry,
            operations,
            errors,
            durations,
            pod_start,
            pod_start_sli,
            started_pods,
            started_containers,
            container_errors,
        }))
    }

    /// A call to the runtime has ended.
    pub fn operation(&self, operation_type: &'static str, took: Duration, failed: bool) {
        let labels = Operation { operation_type };
        self.0.operations.get_or_create(&labels).inc();
        self.0
            .durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        if failed {
            self.0.errors.get_or_create(&labels).inc();
        }
    }

    /// A pod runs: how long after it was seen, and after it was created.
    pub fn pod_started(&self, since_seen: Duration, since_created: Duration) {
        self.0.started_pods.inc();
        self.0.pod_start.observe(since_seen.as_secs_f64());
        self.0.pod_start_sli.observe(since_created.as_secs_f64());
    }

    /// A container was started, or could not be.
    pub fn container_started(&self, ok: bool) {
        let kind = Kind {
            container_type: "container",
        };
        let family = if ok {
            &self.0.started_containers
        } else {
            &self.0.container_errors
        };
        family.get_or_create(&kind).inc();
    }

    /// All of it in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _infallible = prometheus_client::encoding::text::encode(&mut out, &self.0.registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_upstreams_names() {
        let metrics = Metrics::new("n1");
        metrics.operation("run_podsandbox", Duration::from_millis(80), true);
        metrics.pod_started(Duration::from_millis(120), Duration::from_millis(200));
        metrics.container_started(true);
        let text = metrics.text();
        for line in [
            "kubelet_node_name{node=\"n1\"} 1",
            "kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"} 1",
            "kubelet_runtime_operations_errors_total{operation_type=\"run_podsandbox\"} 1",
            "kubelet_pod_start_duration_seconds_count 1",
            "kubelet_started_pods_total 1",
            "kubelet_started_containers_total{container_type=\"container\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
