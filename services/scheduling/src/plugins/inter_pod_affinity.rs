//! Pod affinity and anti-affinity (Kubernetes documentation, "Inter-pod affinity and anti-affinity").
//!
//! Counts of topology domains are made once for each pod, and only over nodes that can matter: a pod without terms in a
//! cluster without anti-affinity costs nothing.

use crate::affinity::PodTerm;
use crate::framework::{Check, Events, MAX_SCORE, Plugin, Reason};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use std::collections::HashMap;

pub(super) struct InterPodAffinity;

/// Sums by topology domain: for each topology key, of which there are few, those of its values, of which there may be as
/// many as nodes. So a node is looked up once for each key, however many domains there are.
#[derive(Clone, Default)]
struct Domains<'a>(Vec<(&'a str, HashMap<&'a str, i64>)>);

impl<'a> Domains<'a> {
    /// Adds to the node's domain; a node without the label is in none.
    fn add(&mut self, node: &'a Node, key: &'a str, amount: i64) {
        let Some(value) = node.label(key) else { return };
        let at = match self.0.iter().position(|(k, _)| *k == key) {
            Some(at) => at,
            None => {
                self.0.push((key, HashMap::new()));
                self.0.len() - 1
            }
        };
        *self.0[at].1.entry(value).or_default() += amount;
    }

    /// The sums of the domains that the node is in.
    fn of(&self, node: &Node) -> impl Iterator<Item = i64> {
        let sums = self.0.iter();
        sums.filter_map(|(key, values)| values.get(node.label(key)?).copied())
    }

    fn hold(&self, node: &Node) -> bool {
        self.of(node).next().is_some()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct Neighbours<'a> {
    pod: &'a Pod,
    /// Domains in which a placed pod's own anti-affinity refuses this pod.
    refused: Domains<'a>,
    /// Domains that hold a pod which this pod avoids.
    avoided: Domains<'a>,
    /// For each affinity term, domains that hold a match.
    wanted: Vec<Domains<'a>>,
    /// No pod matches any of the terms, but this pod matches all of them itself: the first of its kind.
    first_of_its_kind: bool,
    /// Sums of preferences by domain.
    preferred: Domains<'a>,
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }
    fn weight(&self) -> i64 {
        2
    }
    fn wakes_on(&self) -> Events {
        Events::NODE.and(Events::POD_GONE).and(Events::POD_PLACED)
    }
    fn start<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        let own = !pod.affinity.is_empty()
            || !pod.anti_affinity.is_empty()
            || !pod.preferred_affinity.is_empty()
            || !pod.preferred_anti_affinity.is_empty();
        (own || snapshot.has_anti_affinity()).then(|| Box::new(Neighbours::count(pod, snapshot, own)) as _)
    }
}

impl<'a> Neighbours<'a> {
    fn count(pod: &'a Pod, snapshot: &'a Snapshot, own: bool) -> Self {
        let mut all = Self {
            pod,
            refused: Domains::default(),
            avoided: Domains::default(),
            wanted: vec![Domains::default(); pod.affinity.len()],
            first_of_its_kind: false,
            preferred: Domains::default(),
        };
        for node in snapshot.nodes().iter().filter(|n| n.known) {
            if node.with_anti_affinity > 0 {
                for term in node
                    .pods
                    .iter()
                    .flat_map(|p| &p.anti_affinity)
                    .filter(|t| t.matches(pod))
                {
                    all.refused.add(node, &term.topology_key, 1);
                }
            }
            if own {
                all.count_own(node);
            }
        }
        let nobody = all.wanted.iter().all(Domains::is_empty);
        all.first_of_its_kind = nobody && pod.affinity.iter().all(|term| term.matches(pod));
        all
    }

    fn count_own(&mut self, node: &'a Node) {
        let pod = self.pod;
        let placed = |wanted: &dyn Fn(&Pod) -> bool| {
            let count = node.pods.iter().filter(|p| wanted(p)).count();
            i64::try_from(count).unwrap_or(i64::MAX)
        };
        let matching = |term: &PodTerm| placed(&|p| !p.terminating && term.matches(p));
        for term in &pod.anti_affinity {
            let count = matching(term);
            if count > 0 {
                self.avoided.add(node, &term.topology_key, count);
            }
        }
        // A pod counts for affinity only if it matches every term.
        let friends = if pod.affinity.is_empty() {
            0
        } else {
            placed(&|p| pod.affinity.iter().all(|term| term.matches(p)))
        };
        if friends > 0 {
            for (term, counts) in pod.affinity.iter().zip(&mut self.wanted) {
                counts.add(node, &term.topology_key, friends);
            }
        }
        let signs = [(&pod.preferred_affinity, 1), (&pod.preferred_anti_affinity, -1)];
        for (terms, sign) in signs {
            for weighted in terms {
                let count = matching(&weighted.term);
                if count > 0 {
                    let key = &weighted.term.topology_key;
                    self.preferred.add(node, key, sign * weighted.weight * count);
                }
            }
        }
    }
}

impl Neighbours<'_> {
    /// Whether the pod's friends are where it wants them.
    fn among_friends(&self, node: &Node) -> bool {
        self.pod.affinity.iter().zip(&self.wanted).all(|(term, counts)| {
            node.label(&term.topology_key).is_some() && (self.first_of_its_kind || counts.hold(node))
        })
    }
}

impl Check for Neighbours<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        if !self.among_friends(node) {
            return Err("node(s) didn't match pod affinity rules".into());
        }
        if self.avoided.hold(node) {
            return Err("node(s) didn't match pod anti-affinity rules".into());
        }
        if self.refused.hold(node) {
            return Err("node(s) didn't satisfy existing pods anti-affinity rules".into());
        }
        Ok(())
    }

    /// Nobody's departure brings friends.
    fn hopeless(&self, node: &Node) -> bool {
        !self.among_friends(node)
    }

    fn scores(&self) -> bool {
        !self.preferred.is_empty()
    }

    fn score(&self, node: &Node) -> i64 {
        self.preferred.of(node).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let min = scores.iter().copied().min().unwrap_or(0);
        let max = scores.iter().copied().max().unwrap_or(0);
        for score in scores {
            *score = if max == min {
                0
            } else {
                MAX_SCORE * (*score - min) / (max - min)
            };
        }
    }
}
