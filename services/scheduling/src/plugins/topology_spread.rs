//! Topology spread constraints (Kubernetes documentation, "Pod Topology Spread Constraints").
//!
//! `maxSkew` bounds how many more matching pods a domain may have than the emptiest one. Hard constraints filter, soft
//! ones score. Counts are made once for each pod over the nodes that qualify.

use super::node_affinity::demands_met;
use crate::framework::{Check, Events, MAX_SCORE, Plugin, Reason};
use crate::node::Node;
use crate::pod::{Pod, Spread};
use crate::snapshot::Snapshot;
use crate::taints::untolerated;
use std::collections::HashMap;

pub(super) struct TopologySpread;

struct Counted<'a> {
    constraint: &'a Spread,
    /// Matching pods in each domain.
    domains: HashMap<&'a str, i64>,
    /// The fewest in a domain; 0 if there are fewer domains than `minDomains`.
    min: i64,
    /// Whether the pod itself matches, and so adds one.
    own: i64,
}

struct Spreading<'a> {
    hard: Vec<Counted<'a>>,
    soft: Vec<Counted<'a>>,
}

fn qualifies(constraint: &Spread, pod: &Pod, node: &Node) -> bool {
    node.known
        && (!constraint.honor_affinity || demands_met(pod, node))
        && (!constraint.honor_taints || untolerated(&node.taints, &pod.tolerations).is_none())
}

fn count<'a>(constraint: &'a Spread, pod: &'a Pod, all: &'a [Spread], snapshot: &'a Snapshot) -> Counted<'a> {
    let mut domains: HashMap<&str, i64> = HashMap::new();
    let same_kind = || all.iter().filter(|other| other.hard == constraint.hard);
    for node in snapshot.nodes() {
        let Some(domain) = node.label(&constraint.topology_key) else {
            continue;
        };
        let has_all_keys = same_kind().all(|other| node.label(&other.topology_key).is_some());
        if !has_all_keys || !qualifies(constraint, pod, node) {
            continue;
        }
        let matching = node.pods.iter().filter(|p| {
            !p.terminating
                && p.key.namespace == pod.key.namespace
                && constraint.selector.matches_by(|key| p.label(key))
        });
        *domains.entry(domain).or_default() += i64::try_from(matching.count()).unwrap_or(i64::MAX);
    }
    let enough = i64::try_from(domains.len()).unwrap_or(i64::MAX) >= constraint.min_domains;
    let min = if enough {
        domains.values().copied().min().unwrap_or(0)
    } else {
        0
    };
    let own = i64::from(constraint.selector.matches_by(|key| pod.label(key)));
    Counted {
        constraint,
        domains,
        min,
        own,
    }
}

impl Plugin for TopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }
    fn weight(&self) -> i64 {
        2
    }
    fn wakes_on(&self) -> Events {
        Events::NODE.and(Events::POD_GONE).and(Events::POD_PLACED)
    }
    fn start<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        if pod.spread.is_empty() {
            return None;
        }
        let (hard, soft) = pod
            .spread
            .iter()
            .map(|c| count(c, pod, &pod.spread, snapshot))
            .partition(|c| c.constraint.hard);
        Some(Box::new(Spreading { hard, soft }))
    }
}

impl Check for Spreading<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        for counted in &self.hard {
            let Some(domain) = node.label(&counted.constraint.topology_key) else {
                let why = "node(s) didn't match pod topology spread constraints (missing required label)";
                return Err(why.into());
            };
            let here = counted.domains.get(domain).copied().unwrap_or(0);
            if here + counted.own - counted.min > counted.constraint.max_skew {
                return Err("node(s) didn't match pod topology spread constraints".into());
            }
        }
        Ok(())
    }

    fn hopeless(&self, node: &Node) -> bool {
        self.hard
            .iter()
            .any(|counted| node.label(&counted.constraint.topology_key).is_none())
    }

    fn scores(&self) -> bool {
        !self.soft.is_empty()
    }

    /// Matching pods in the node's domains, weighted so that many small domains count as much as few large ones.
    fn score(&self, node: &Node) -> i64 {
        let sum: f64 = self
            .soft
            .iter()
            .filter_map(|counted| {
                let domain = node.label(&counted.constraint.topology_key)?;
                let here = counted.domains.get(domain).copied().unwrap_or(0) as f64;
                let weight = (counted.domains.len() as f64 + 2.0).ln();
                Some(here * weight + (counted.constraint.max_skew - 1) as f64)
            })
            .sum();
        sum.round() as i64
    }

    /// Fewer is better; nodes without the label (they scored least by accident) come last only through the filter.
    fn normalize(&self, scores: &mut [i64]) {
        let min = scores.iter().copied().min().unwrap_or(0);
        let max = scores.iter().copied().max().unwrap_or(0);
        for score in scores {
            *score = if max == 0 {
                MAX_SCORE
            } else {
                MAX_SCORE * (max + min - *score) / max
            };
        }
    }
}
