//! Taints keep pods away (`NoSchedule`, `NoExecute`), or would like to (`PreferNoSchedule`).

use crate::framework::{Check, Events, Plugin, Reason, scale};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use crate::taints::{Effect, untolerated};

pub(super) struct TaintToleration;

struct Tolerations<'a>(&'a Pod);

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }
    fn weight(&self) -> i64 {
        3
    }
    fn wakes_on(&self) -> Events {
        Events::NODE
    }
    fn start<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        let any = snapshot.nodes().iter().any(|n| !n.taints.is_empty());
        any.then(|| Box::new(Tolerations(pod)) as _)
    }
}

impl Check for Tolerations<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        match untolerated(&node.taints, &self.0.tolerations) {
            None => Ok(()),
            Some(_) => Err("node(s) had untolerated taint(s)".into()),
        }
    }

    fn scores(&self) -> bool {
        true
    }

    /// How many soft taints are not tolerated.
    fn score(&self, node: &Node) -> i64 {
        let soft = node
            .taints
            .iter()
            .filter(|t| t.effect == Effect::PreferNoSchedule);
        let hostile = soft.filter(|taint| !self.0.tolerations.iter().any(|t| t.tolerates(taint)));
        i64::try_from(hostile.count()).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale(scores, true);
    }
}
