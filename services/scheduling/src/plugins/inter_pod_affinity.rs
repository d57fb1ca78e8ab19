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

type Domain<'a> = (&'a str, &'a str);

struct Neighbours<'a> {
    pod: &'a Pod,
    /// Domains in which a placed pod's own anti-affinity refuses this pod.
    refused: HashMap<Domain<'a>, usize>,
    /// Domains that hold a pod which this pod avoids.
    avoided: HashMap<Domain<'a>, usize>,
    /// For each affinity term, domains that hold a match.
    wanted: Vec<HashMap<Domain<'a>, usize>>,
    /// No pod matches any of the terms, but this pod matches all of them itself: the first of its kind.
    first_of_its_kind: bool,
    /// Sums of preferences by domain.
    preferred: HashMap<Domain<'a>, i64>,
}

fn domain<'a>(node: &'a Node, key: &'a str) -> Option<Domain<'a>> {
    Some((key, node.label(key)?))
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
            refused: HashMap::new(),
            avoided: HashMap::new(),
            wanted: vec![HashMap::new(); pod.affinity.len()],
            first_of_its_kind: false,
            preferred: HashMap::new(),
        };
        for node in snapshot.nodes().iter().filter(|n| n.known) {
            if node.with_anti_affinity > 0 {
                for term in node
                    .pods
                    .iter()
                    .flat_map(|p| &p.anti_affinity)
                    .filter(|t| t.matches(pod))
                {
                    if let Some(here) = domain(node, &term.topology_key) {
                        *all.refused.entry(here).or_default() += 1;
                    }
                }
            }
            if own {
                all.count_own(node);
            }
        }
        let nobody = all.wanted.iter().all(HashMap::is_empty);
        all.first_of_its_kind = nobody && pod.affinity.iter().all(|term| term.matches(pod));
        all
    }

    fn count_own(&mut self, node: &'a Node) {
        let pod = self.pod;
        let matching = |term: &PodTerm| {
            node.pods
                .iter()
                .filter(|p| !p.terminating && term.matches(p))
                .count()
        };
        for term in &pod.anti_affinity {
            add(&mut self.avoided, node, term, matching(term));
        }
        // A pod counts for affinity only if it matches every term.
        let all_match = |p: &Pod| pod.affinity.iter().all(|term| term.matches(p));
        let friends = if pod.affinity.is_empty() {
            0
        } else {
            node.pods.iter().filter(|p| all_match(p)).count()
        };
        for (term, counts) in pod.affinity.iter().zip(&mut self.wanted) {
            add(counts, node, term, friends);
        }
        let signs = [(&pod.preferred_affinity, 1), (&pod.preferred_anti_affinity, -1)];
        for (terms, sign) in signs {
            for weighted in terms {
                let count = i64::try_from(matching(&weighted.term)).unwrap_or(i64::MAX);
                if count > 0
                    && let Some(here) = domain(node, &weighted.term.topology_key)
                {
                    *self.preferred.entry(here).or_default() += sign * weighted.weight * count;
                }
            }
        }
    }
}

fn add<'a>(counts: &mut HashMap<Domain<'a>, usize>, node: &'a Node, term: &'a PodTerm, count: usize) {
    if count > 0
        && let Some(here) = domain(node, &term.topology_key)
    {
        *counts.entry(here).or_default() += count;
    }
}

impl Check for Neighbours<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        for (term, counts) in self.pod.affinity.iter().zip(&self.wanted) {
            let Some(here) = domain(node, &term.topology_key) else {
                return Err("node(s) didn't match pod affinity rules".into());
            };
            if !counts.contains_key(&here) && !self.first_of_its_kind {
                return Err("node(s) didn't match pod affinity rules".into());
            }
        }
        let in_domain = |term: &PodTerm| {
            domain(node, &term.topology_key).is_some_and(|here| self.avoided.contains_key(&here))
        };
        if self.pod.anti_affinity.iter().any(in_domain) {
            return Err("node(s) didn't match pod anti-affinity rules".into());
        }
        if self
            .refused
            .keys()
            .any(|(key, value)| node.label(key) == Some(value))
        {
            return Err("node(s) didn't satisfy existing pods anti-affinity rules".into());
        }
        Ok(())
    }

    fn scores(&self) -> bool {
        !self.preferred.is_empty()
    }

    fn score(&self, node: &Node) -> i64 {
        let here = self
            .preferred
            .iter()
            .filter(|((key, value), _)| node.label(key) == Some(*value));
        here.map(|(_, sum)| sum).sum()
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
