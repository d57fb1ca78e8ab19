//! Runs the plugins: filter every node, score those that are left, choose.
//!
//! A plugin is asked once for each pod ([`Plugin::start`]) and may answer that it has no say; what it must compute once
//! (counts of topology domains) is computed there. Then each node is a call without allocation.
//!
//! On large clusters not every node is looked at: as upstream does, the search stops when enough feasible nodes were
//! found, and the next pod begins where this one stopped, so that all nodes get their turn.

use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why a node will not do, in the words that users see in events.
pub type Reason = Cow<'static, str>;

/// The most a plugin gives a node.
pub const MAX_SCORE: i64 = 100;
/// Clusters up to this size are searched whole.
const MIN_FEASIBLE: usize = 100;

/// Changes after which a pod that had no place may have one. Bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events(pub u32);

impl Events {
    /// A node was added, or its allocatable, labels or taints changed.
    pub const NODE: Self = Self(1);
    /// A placed pod went away or shrank.
    pub const POD_GONE: Self = Self(2);
    /// A pod was placed, or its labels changed.
    pub const POD_PLACED: Self = Self(4);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have one in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One rule of placement. One file each, under `plugins`.
pub trait Plugin: Send + Sync {
    /// Its name, as upstream calls it.
    fn name(&self) -> &'static str;
    /// How much its score counts.
    fn weight(&self) -> i64 {
        1
    }
    /// Changes that may make a pod feasible which this plugin has refused.
    fn wakes_on(&self) -> Events;
    /// What the plugin has to say about this pod; `None`: nothing.
    fn start<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>>;
}

/// A plugin's say about one pod.
pub trait Check {
    /// Whether a node will do.
    fn filter(&self, _node: &Node) -> Result<(), Reason> {
        Ok(())
    }
    /// Says every reason why a node will not do which [`Self::filter`] refused with `first`.
    fn reasons(&self, _node: &Node, first: Reason, say: &mut dyn FnMut(Reason)) {
        say(first);
    }
    /// Whether a node that [`Self::filter`] refuses would be refused even if all its pods went.
    fn hopeless(&self, _node: &Node) -> bool {
        false
    }
    /// Whether [`Self::score`] means anything.
    fn scores(&self) -> bool {
        false
    }
    /// How good a node is, in any scale that [`Self::normalize`] brings to 0..=[`MAX_SCORE`].
    fn score(&self, _node: &Node) -> i64 {
        0
    }
    /// Brings the scores of all feasible nodes to 0..=[`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// Scales scores so that the largest becomes [`MAX_SCORE`]; reversed, the smallest wins.
pub fn scale(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        *score = if max == 0 {
            if reverse { MAX_SCORE } else { 0 }
        } else {
            let scaled = *score * MAX_SCORE / max;
            if reverse { MAX_SCORE - scaled } else { scaled }
        };
    }
}

/// A list of plugins in order.
pub struct Framework {
    plugins: Vec<Box<dyn Plugin>>,
}

/// Why no node will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// How many nodes were looked at.
    pub nodes: usize,
    /// How many said what.
    pub reasons: BTreeMap<String, usize>,
    /// Changes that may help.
    pub wakes_on: Events,
}

impl Unschedulable {
    fn count(&mut self, why: Reason) {
        match self.reasons.get_mut(&*why) {
            Some(count) => *count += 1,
            None => {
                self.reasons.insert(why.into_owned(), 1);
            }
        }
    }

    /// The message of the `FailedScheduling` event and of the pod's condition.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".into();
        }
        histogram(self.nodes, &self.reasons)
    }
}

/// Counted reasons in the words and the order of upstream: sorted as text, the count included.
pub(crate) fn histogram(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The best node's name.
    pub node: String,
    /// How many feasible nodes there were to choose from.
    pub feasible: usize,
}

impl Framework {
    /// With these plugins.
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { plugins }
    }

    /// With the default plugins.
    pub fn standard() -> Self {
        Self::new(crate::plugins::all())
    }

    /// The first reason why one node will not do.
    pub fn fits(&self, pod: &Pod, snapshot: &Snapshot, node: &Node) -> Result<(), Reason> {
        let checks = self.plugins.iter().filter_map(|p| p.start(pod, snapshot));
        checks
            .map(|check| check.filter(node))
            .find(Result::is_err)
            .unwrap_or(Ok(()))
    }

    /// Every reason why one node will not do, of the first plugin that refuses it; none if it will.
    pub fn refusal(&self, pod: &Pod, snapshot: &Snapshot, node: &Node) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for check in self.plugins.iter().filter_map(|p| p.start(pod, snapshot)) {
            if let Err(first) = check.filter(node) {
                check.reasons(node, first, &mut |why| reasons.push(why));
                break;
            }
        }
        reasons
    }

    /// Nodes on which a departing pod may help this one, and how many there are on which it cannot.
    pub fn helped_by_departures<'a>(&self, pod: &Pod, snapshot: &'a Snapshot) -> (Vec<&'a str>, usize) {
        let checks = self
            .plugins
            .iter()
            .filter_map(|p| Some((p, p.start(pod, snapshot)?)));
        let checks: Vec<_> = checks.collect();
        let (mut helped, mut others) = (Vec::new(), 0);
        for node in snapshot.nodes().iter().filter(|n| n.known) {
            if may_help(&checks, node) {
                helped.push(node.name.as_str());
            } else {
                others += 1;
            }
        }
        (helped, others)
    }

    /// Whether a departing pod may help on one node.
    pub fn departures_help(&self, pod: &Pod, snapshot: &Snapshot, node: &Node) -> bool {
        let checks: Vec<_> = self
            .plugins
            .iter()
            .filter_map(|p| Some((p, p.start(pod, snapshot)?)))
            .collect();
        may_help(&checks, node)
    }

    /// Finds the best node. `turn` is where the search begins, and is moved on; `dice` decides between equals.
    pub fn place(
        &self,
        pod: &Pod,
        snapshot: &Snapshot,
        turn: &mut usize,
        dice: &mut dyn FnMut(usize) -> usize,
    ) -> Result<Outcome, Unschedulable> {
        let checks: Vec<(&dyn Plugin, Box<dyn Check + '_>)> = self
            .plugins
            .iter()
            .filter_map(|p| Some((&**p, p.start(pod, snapshot)?)))
            .collect();
        let nodes = snapshot.nodes();
        let wanted = enough(nodes.len());
        let mut failures = Unschedulable {
            nodes: 0,
            reasons: BTreeMap::new(),
            wakes_on: Events(0),
        };
        let mut feasible: Vec<&Node> = Vec::new();
        let mut looked = 0;
        for step in 0..nodes.len() {
            let node = &nodes[(*turn + step) % nodes.len()];
            looked = step + 1;
            if !node.known {
                continue;
            }
            failures.nodes += 1;
            let refused = checks
                .iter()
                .find_map(|(plugin, check)| Some((plugin, check, check.filter(node).err()?)));
            match refused {
                None => feasible.push(node),
                Some((plugin, check, first)) => {
                    failures.wakes_on = failures.wakes_on.and(plugin.wakes_on());
                    check.reasons(node, first, &mut |why| failures.count(why));
                }
            }
            if feasible.len() >= wanted {
                break;
            }
        }
        if !nodes.is_empty() {
            *turn = (*turn + looked) % nodes.len();
        }
        if feasible.is_empty() {
            if failures.nodes == 0 {
                failures.wakes_on = Events::NODE;
            }
            return Err(failures);
        }
        let best = choose(&checks, &feasible, dice);
        Ok(Outcome {
            node: feasible[best].name.clone(),
            feasible: feasible.len(),
        })
    }
}

/// A plugin with its say about a pod.
type Asked<'a> = (&'a Box<dyn Plugin>, Box<dyn Check + 'a>);

/// Whether the first plugin that refuses a node says that departing pods may change that.
fn may_help(checks: &[Asked<'_>], node: &Node) -> bool {
    checks
        .iter()
        .find(|(_, check)| check.filter(node).is_err())
        .is_none_or(|(plugin, check)| !check.hopeless(node) && plugin.wakes_on().overlaps(Events::POD_GONE))
}

/// How many feasible nodes end the search: all up to 100 nodes, then half of them falling to 5 % with the size.
fn enough(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes;
    }
    let percentage = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percentage / 100).max(MIN_FEASIBLE)
}

fn choose(
    checks: &[(&dyn Plugin, Box<dyn Check + '_>)],
    feasible: &[&Node],
    dice: &mut dyn FnMut(usize) -> usize,
) -> usize {
    if feasible.len() == 1 {
        return 0;
    }
    let mut totals = vec![0i64; feasible.len()];
    let mut scores = vec![0i64; feasible.len()];
    for (plugin, check) in checks.iter().filter(|(_, check)| check.scores()) {
        for (score, node) in scores.iter_mut().zip(feasible) {
            *score = check.score(node);
        }
        check.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += score * plugin.weight();
        }
    }
    let best = totals.iter().copied().max().unwrap_or(0);
    let equals: Vec<usize> = (0..totals.len()).filter(|i| totals[*i] == best).collect();
    equals[dice(equals.len()).min(equals.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_clusters_are_not_searched_whole() {
        assert_eq!(enough(3), 3);
        assert_eq!(enough(100), 100);
        assert_eq!(enough(1000), 420);
        assert_eq!(enough(5000), 500);
        assert_eq!(enough(100_000), 5000);
    }

    #[test]
    fn scaling_reaches_the_ends_and_survives_zeros() {
        let mut scores = [0, 5, 10];
        scale(&mut scores, false);
        assert_eq!(scores, [0, 50, 100]);
        scale(&mut scores, true);
        assert_eq!(scores, [100, 50, 0]);
        let mut zeros = [0, 0];
        scale(&mut zeros, true);
        assert_eq!(zeros, [100, 100]);
    }
}
