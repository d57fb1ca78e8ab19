//! Of nodes with room, those whose CPU and memory would be used to a similar part are better.

use crate::framework::{Check, Events, MAX_SCORE, Plugin};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) struct BalancedAllocation;

struct Balance<'a>(&'a Pod);

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }
    fn wakes_on(&self) -> Events {
        Events(0)
    }
    fn start<'a>(&self, pod: &'a Pod, _snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        // A pod that asks for nothing cannot unbalance anything.
        let asks = pod.requests.milli_cpu > 0 || pod.requests.memory > 0;
        asks.then(|| Box::new(Balance(pod)) as _)
    }
}

impl Check for Balance<'_> {
    fn scores(&self) -> bool {
        true
    }

    /// One minus the standard deviation of the two parts: for two numbers, half their distance.
    fn score(&self, node: &Node) -> i64 {
        let part = |used: i64, mine: i64, all: i64| {
            if all <= 0 {
                1.0
            } else {
                (used.saturating_add(mine) as f64 / all as f64).min(1.0)
            }
        };
        let cpu = part(
            node.used.milli_cpu,
            self.0.requests.milli_cpu,
            node.allocatable.milli_cpu,
        );
        let memory = part(node.used.memory, self.0.requests.memory, node.allocatable.memory);
        ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64
    }
}
