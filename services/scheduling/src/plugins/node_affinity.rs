//! `nodeSelector` and node affinity.

use crate::framework::{Check, Events, Plugin, Reason, scale};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) struct NodeAffinity;

struct Affinity<'a>(&'a Pod);

/// Whether a node has all that a pod demands of it by selector and affinity.
pub(super) fn demands_met(pod: &Pod, node: &Node) -> bool {
    pod.node_selector
        .iter()
        .all(|(key, value)| node.label(key) == Some(value))
        && pod
            .node_terms
            .as_ref()
            .is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }
    fn weight(&self) -> i64 {
        2
    }
    fn wakes_on(&self) -> Events {
        Events::NODE
    }
    fn start<'a>(&self, pod: &'a Pod, _snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        let any =
            !pod.node_selector.is_empty() || pod.node_terms.is_some() || !pod.preferred_node_terms.is_empty();
        any.then(|| Box::new(Affinity(pod)) as _)
    }
}

impl Check for Affinity<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        if demands_met(self.0, node) {
            Ok(())
        } else {
            Err("node(s) didn't match Pod's node affinity/selector".into())
        }
    }

    fn scores(&self) -> bool {
        !self.0.preferred_node_terms.is_empty()
    }

    fn score(&self, node: &Node) -> i64 {
        let met = self
            .0
            .preferred_node_terms
            .iter()
            .filter(|w| w.term.matches(node));
        met.map(|w| w.weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        scale(scores, false);
    }
}
