//! What work queues tell an operator: `workqueue_*`, with the names, label and buckets of Kubernetes' component-base.
//!
//! The label `name` is the queue's, as upstream names it, so that dashboards made for kube-controller-manager fit. There
//! is none for the cluster: thousands of clusters share a queue, and what one of them costs is not a queue's to say.
//! Counters move when keys do; depth and running times are computed when somebody reads, so that an idle queue costs
//! nothing.

use crate::queue::Queue;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    name: &'static str,
}

/// From ten nanoseconds to ten seconds.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-8, 10.0, 10))
}

type Histograms = Family<Named, Histogram, fn() -> Histogram>;

/// The metrics of a process's queues. Clones share them.
#[derive(Clone, Debug)]
pub struct QueueMetrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    adds: Family<Named, Counter>,
    retries: Family<Named, Counter>,
    waited: Histograms,
    worked: Histograms,
    queues: Mutex<Vec<(&'static str, Weak<Queue>)>>,
}

impl Default for QueueMetrics {
    fn default() -> Self {
        Self(Arc::new(Families {
            adds: Family::default(),
            retries: Family::default(),
            waited: Family::new_with_constructor(histogram),
            worked: Family::new_with_constructor(histogram),
            queues: Mutex::default(),
        }))
    }
}

impl QueueMetrics {
    /// Makes the metrics readable through a registry.
    pub fn register(&self, registry: &mut Registry) {
        let Families {
            adds,
            retries,
            waited,
            worked,
            ..
        } = &*self.0;
        registry.register("workqueue_adds", "Keys added to the queue", adds.clone());
        registry.register(
            "workqueue_retries",
            "Keys added for later: after a failure or because they asked for it",
            retries.clone(),
        );
        registry.register(
            "workqueue_queue_duration_seconds",
            "How long a key waits in the queue before it is worked on",
            waited.clone(),
        );
        registry.register(
            "workqueue_work_duration_seconds",
            "How long a key is worked on",
            worked.clone(),
        );
        registry.register_collector(Box::new(Moment(self.0.clone())));
    }

    /// A queue that is counted under a name.
    pub fn queue(&self, name: &'static str) -> Arc<Queue> {
        let named = Named { name };
        let queue = Arc::new(Queue::metered(Meter {
            adds: self.0.adds.get_or_create_owned(&named),
            retries: self.0.retries.get_or_create_owned(&named),
            waited: self.0.waited.get_or_create_owned(&named),
            worked: self.0.worked.get_or_create_owned(&named),
        }));
        self.0.queues.lock().push((name, Arc::downgrade(&queue)));
        queue
    }
}

/// What one queue counts.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) adds: Counter,
    pub(crate) retries: Counter,
    pub(crate) waited: Histogram,
    pub(crate) worked: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            adds: Counter::default(),
            retries: Counter::default(),
            waited: histogram(),
            worked: histogram(),
        }
    }
}

/// What is true of a queue at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    /// Keys that wait.
    pub(crate) depth: usize,
    /// Seconds that all keys in work have been worked on so far.
    pub(crate) unfinished: f64,
    /// Seconds that the oldest of them has.
    pub(crate) longest: f64,
}

/// Name, help, and where the value is.
type Figure = (&'static str, &'static str, fn(&State) -> f64);

#[derive(Debug)]
struct Moment(Arc<Families>);

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut states = BTreeMap::<&'static str, State>::new();
        self.0.queues.lock().retain(|(name, queue)| {
            let Some(queue) = queue.upgrade() else {
                return false;
            };
            let (now, sum) = (queue.state(), states.entry(name).or_default());
            sum.depth += now.depth;
            sum.unfinished += now.unfinished;
            sum.longest = sum.longest.max(now.longest);
            true
        });
        let gauges: [Figure; 3] = [
            ("workqueue_depth", "Keys that wait in the queue", |s| {
                s.depth as f64
            }),
            (
                "workqueue_unfinished_work_seconds",
                "Seconds that the keys which are being worked on have been so far, together",
                |s| s.unfinished,
            ),
            (
                "workqueue_longest_running_processor_seconds",
                "Seconds that the oldest key in work has been worked on",
                |s| s.longest,
            ),
        ];
        for (metric, help, value) in gauges {
            let mut family = encoder.encode_descriptor(metric, help, None, MetricType::Gauge)?;
            for (name, state) in &states {
                let named = Named { name };
                ConstGauge::new(value(state)).encode(family.encode_family(&named)?)?;
            }
        }
        Ok(())
    }
}
