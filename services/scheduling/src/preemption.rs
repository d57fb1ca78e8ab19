//! Which pods of lower priority would have to go so that a pod finds a place (Kubernetes documentation, "Pod Priority
//! and Preemption").
//!
//! Each node is tried: all its pods of lower priority are taken away; if the pod fits then, as many of them as possible
//! are put back: first those whose going would break a disruption budget, and the most important before the others. The
//! node on which the fewest budgets break wins, then the one whose victims matter least. Budgets are spared where that is
//! possible, not kept at any price. Trials happen in the snapshot itself and are undone, since a copy of a large cluster
//! would cost more than the search. Nodes that no departure can help (taints, labels, names) are left out: a plugin that
//! does not wake on departing pods says so.

use crate::budget::{self, Budget};
use crate::framework::{Framework, Reason, histogram};
use crate::pod::{Pod, PodKey};
use crate::snapshot::Snapshot;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// At least so many nodes are tried, if there are as many.
const MIN_CANDIDATES: usize = 100;

/// A node and the pods that have to leave it.
#[derive(Clone, Debug)]
pub struct Preemption {
    /// The node's name.
    pub node: String,
    /// Most important first; never empty.
    pub victims: Vec<Arc<Pod>>,
}

/// Why nobody can be sent away, in the words of upstream's event.
pub type Hopeless = String;

/// Looks for the victims that matter least. The snapshot is as before when this returns.
pub fn find<'a>(
    framework: &Framework,
    pod: &Pod,
    snapshot: &mut Snapshot,
    budgets: impl Iterator<Item = &'a Budget> + Clone,
) -> Result<Preemption, Hopeless> {
    if pod.never_preempts {
        return Err("preemption: not eligible due to preemptionPolicy=Never.".into());
    }
    let (helpful, unhelpful) = framework.helped_by_departures(pod, snapshot);
    let helpful: Vec<String> = helpful.into_iter().map(str::to_owned).collect();
    let total = helpful.len() + unhelpful;
    let enough = (total / 10).max(MIN_CANDIDATES);
    let mut reasons = BTreeMap::<String, usize>::new();
    let mut best: Option<(Rank, Preemption)> = None;
    let (mut found, mut spares_budgets) = (0, false);
    for name in helpful {
        let (victims, broken) = match victims(framework, pod, snapshot, &name, budgets.clone()) {
            Ok(victims) => victims,
            Err(why) => {
                for why in why {
                    *reasons.entry(why.into_owned()).or_default() += 1;
                }
                continue;
            }
        };
        let rank = rank(&victims, broken);
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, Preemption { node: name, victims }));
        }
        found += 1;
        spares_budgets |= broken == 0;
        if found >= enough && spares_budgets {
            break;
        }
    }
    best.map(|(_, preemption)| preemption).ok_or_else(|| {
        if unhelpful > 0 {
            reasons.insert("Preemption is not helpful for scheduling".into(), unhelpful);
        }
        format!("preemption: {}", histogram(total, &reasons))
    })
}

/// Budgets that break, the highest priority among the victims, their priorities' sum, their number, and how early the first
/// of the most important ones began: less is better.
type Rank = (usize, i64, i64, usize, Reverse<Start>);

/// When a pod began; one that has not yet is the latest.
type Start = (bool, Option<Box<str>>);

fn start(pod: &Pod) -> Start {
    (pod.started.is_none(), pod.started.clone())
}

fn rank(victims: &[Arc<Pod>], broken: usize) -> Rank {
    let highest = victims.iter().map(|v| v.priority).max().unwrap_or(i64::MIN);
    // Shifted so that many unimportant pods do not look better the more negative their priorities are.
    let sum = victims.iter().map(|v| v.priority.saturating_add(1 << 31)).sum();
    let first = victims
        .iter()
        .filter(|v| v.priority == highest)
        .map(|v| start(v))
        .min();
    (
        broken,
        highest,
        sum,
        victims.len(),
        Reverse(first.unwrap_or((true, None))),
    )
}

/// The more important of two pods comes first: by priority, then the older one.
fn importance(pod: &Pod) -> (Reverse<i64>, Start, PodKey) {
    (Reverse(pod.priority), start(pod), pod.key.clone())
}

/// Who would have to leave one node, and how many of them would break a budget; else why the pod has no place there.
fn victims<'a>(
    framework: &Framework,
    pod: &Pod,
    snapshot: &mut Snapshot,
    name: &str,
    budgets: impl Iterator<Item = &'a Budget>,
) -> Result<(Vec<Arc<Pod>>, usize), Vec<Reason>> {
    let nobody = || vec![Reason::Borrowed("No preemption victims found for incoming pod")];
    let node = snapshot.node(name).ok_or_else(nobody)?;
    let mut lower: Vec<Arc<Pod>> = node
        .pods
        .iter()
        .filter(|p| p.priority < pod.priority)
        .cloned()
        .collect();
    if lower.is_empty() {
        return Err(nobody());
    }
    lower.sort_by_cached_key(|p| importance(p));
    for one in &lower {
        snapshot.displace(&one.key);
    }
    let refusal = |snapshot: &Snapshot| match snapshot.node(name) {
        Some(node) => framework.refusal(pod, snapshot, node),
        None => nobody(),
    };
    let refused = refusal(snapshot);
    if !refused.is_empty() {
        for one in lower {
            snapshot.place(one, name);
        }
        return Err(refused);
    }
    let (breaking, others) = budget::part(lower, budgets);
    let mut gone: Vec<Arc<Pod>> = Vec::new();
    let mut broken = 0;
    for (group, breaks) in [(breaking, 1), (others, 0)] {
        for one in group {
            snapshot.place(one.clone(), name);
            if !refusal(snapshot).is_empty() {
                snapshot.displace(&one.key);
                gone.push(one);
                broken += breaks;
            }
        }
    }
    gone.sort_by_cached_key(|p| importance(p));
    for one in &gone {
        snapshot.place(one.clone(), name);
    }
    if gone.is_empty() {
        Err(nobody())
    } else {
        Ok((gone, broken))
    }
}

/// Whether room is being made for a pod on a node: one of these pods is still there, or one that matters less leaves it
/// because the scheduler sent it away. A node that no departure helps any more is not waited for.
pub fn is_clearing(
    framework: &Framework,
    pod: &Pod,
    snapshot: &Snapshot,
    node: &str,
    victims: &[PodKey],
) -> bool {
    let Some(node) = snapshot.node(node).filter(|n| n.known) else {
        return false;
    };
    let leaves = |p: &Arc<Pod>| p.priority < pod.priority && (p.preempted || victims.contains(&p.key));
    node.pods.iter().any(leaves) && framework.departures_help(pod, snapshot, node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, value};

    fn pod(name: &'static str, priority: i64, cpu: &'static str) -> Value {
        value!({"metadata": {"name": name, "namespace": "d", "uid": name},
            "spec": {"priority": priority, "containers": [{"resources": {"requests": {"cpu": cpu}}}]}})
    }

    fn cluster(placed: &[(&'static str, &'static str, i64, &'static str)]) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for (name, node, priority, cpu) in placed {
            let object = value!({"metadata": {"name": (*node)}, "status": {"allocatable": {"cpu": "2", "pods": "10"}}});
            snapshot.set_node(&object);
            snapshot.place(Arc::new(Pod::read(&pod(name, *priority, cpu))), node);
        }
        snapshot
    }

    fn names(preemption: &Preemption) -> Vec<&str> {
        preemption.victims.iter().map(|v| v.key.name.as_str()).collect()
    }

    #[test]
    fn those_that_matter_least_go_and_no_more_than_needed() {
        let framework = Framework::standard();
        let mut snapshot = cluster(&[
            ("a", "n1", 5, "1"),
            ("b", "n1", 1, "500m"),
            ("c", "n1", 1, "500m"),
            ("d", "n2", 7, "2"),
            ("e", "n3", 50, "2"),
        ]);
        let before = snapshot.node("n1").unwrap().used.milli_cpu;
        let asked = |cpu, priority| Pod::read(&pod("new", priority, cpu));
        let small = find(&framework, &asked("500m", 10), &mut snapshot, std::iter::empty()).unwrap();
        assert_eq!((small.node.as_str(), names(&small)), ("n1", vec!["c"]));
        let large = find(&framework, &asked("2", 10), &mut snapshot, std::iter::empty()).unwrap();
        assert_eq!((large.node.as_str(), names(&large)), ("n1", vec!["a", "b", "c"]));
        assert_eq!(
            snapshot.node("n1").unwrap().used.milli_cpu,
            before,
            "trials leave nothing behind"
        );
        assert_eq!(
            find(&framework, &asked("2", 1), &mut snapshot, std::iter::empty()).unwrap_err(),
            "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        );
    }

    #[test]
    fn where_departures_do_not_help_nobody_is_sent_away() {
        let framework = Framework::standard();
        let mut snapshot = cluster(&[("a", "n1", 0, "1")]);
        let mut picky = pod("new", 10, "1");
        picky
            .at_mut(&["spec"])
            .insert("nodeSelector", value!({"disk": "ssd"}));
        let why = find(&framework, &Pod::read(&picky), &mut snapshot, std::iter::empty()).unwrap_err();
        assert_eq!(
            why,
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        );
        let mut meek = pod("new", 10, "2");
        meek.at_mut(&["spec"]).insert("preemptionPolicy", "Never");
        let why = find(&framework, &Pod::read(&meek), &mut snapshot, std::iter::empty()).unwrap_err();
        assert_eq!(why, "preemption: not eligible due to preemptionPolicy=Never.");
    }

    /// `find`, with one budget that lets nobody with this label go.
    fn spare(snapshot: &mut Snapshot, cpu: &'static str, app: &'static str) -> Preemption {
        let budget = Budget::read(&value!({"metadata": {"name": "b", "namespace": "d"},
            "spec": {"selector": {"matchLabels": {"app": app}}}}));
        let new = Pod::read(&pod("new", 100, cpu));
        find(&Framework::standard(), &new, snapshot, [budget].iter()).unwrap()
    }

    fn place(snapshot: &mut Snapshot, node: &'static str, mut pod: Value, app: &'static str) {
        pod.at_mut(&["metadata"]).insert("labels", value!({"app": app}));
        snapshot.place(Arc::new(Pod::read(&pod)), node);
    }

    #[test]
    fn budgets_are_spared_on_the_node_and_among_the_nodes() {
        let mut snapshot = cluster(&[("x", "n1", 0, "0")]);
        place(&mut snapshot, "n1", pod("guarded", 1, "1"), "a");
        place(&mut snapshot, "n1", pod("free", 9, "1"), "b");
        let one = spare(&mut snapshot, "1", "a");
        assert_eq!(
            names(&one),
            ["free"],
            "the budget counts for more than the priority"
        );
        assert_eq!(
            names(&spare(&mut snapshot, "2", "a")),
            ["free", "guarded"],
            "but it is no promise"
        );
        let mut snapshot = cluster(&[("x", "n1", 0, "0"), ("y", "n2", 0, "0")]);
        place(&mut snapshot, "n1", pod("guarded", 1, "2"), "a");
        place(&mut snapshot, "n2", pod("free", 9, "2"), "b");
        let other = spare(&mut snapshot, "2", "a");
        assert_eq!((other.node.as_str(), names(&other)), ("n2", vec!["free"]));
    }

    #[test]
    fn among_equals_the_youngest_go() {
        let began = |name, at: &'static str| {
            let mut pod = pod(name, 1, "1");
            pod.at_mut(&["status"]).insert("startTime", at);
            pod
        };
        let mut snapshot = cluster(&[("x", "n1", 0, "0"), ("y", "n2", 0, "0")]);
        place(&mut snapshot, "n1", began("old", "2026-01-01T00:00:00Z"), "-");
        place(&mut snapshot, "n1", began("young", "2026-03-01T00:00:00Z"), "-");
        place(&mut snapshot, "n2", began("first", "2026-02-01T00:00:00Z"), "-");
        place(&mut snapshot, "n2", pod("fresh", 1, "1"), "-");
        let all = spare(&mut snapshot, "1", "none");
        assert_eq!((all.node.as_str(), names(&all)), ("n2", vec!["fresh"]));
    }

    #[test]
    fn the_message_says_why_each_node_stays_closed() {
        let mut snapshot = cluster(&[("a", "n1", 0, "1"), ("b", "n2", 50, "1"), ("c", "n3", 0, "1")]);
        place(&mut snapshot, "n1", pod("rival", 50, "1500m"), "-");
        let small =
            value!({"metadata": {"name": "n3"}, "status": {"allocatable": {"cpu": "1", "pods": "10"}}});
        snapshot.set_node(&small);
        let new = Pod::read(&pod("new", 10, "1500m"));
        let why = find(&Framework::standard(), &new, &mut snapshot, std::iter::empty()).unwrap_err();
        assert_eq!(
            why,
            "preemption: 0/3 nodes are available: 1 Insufficient cpu, \
             1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
        );
    }

    #[test]
    fn room_that_is_being_made_is_waited_for() {
        let framework = Framework::standard();
        let mut snapshot = cluster(&[("a", "n1", 0, "2")]);
        let new = Pod::read(&pod("new", 10, "1"));
        let clearing = |snapshot: &Snapshot| is_clearing(&framework, &new, snapshot, "n1", &[]);
        assert!(!clearing(&snapshot));
        let mut leaving = pod("a", 0, "2");
        leaving
            .at_mut(&["metadata"])
            .insert("deletionTimestamp", "2026-01-01T00:00:00Z");
        place(&mut snapshot, "n1", leaving.clone(), "-");
        assert!(!clearing(&snapshot), "it leaves for another reason");
        let sent = value!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"});
        leaving
            .at_mut(&["status"])
            .insert("conditions", Value::List(vec![sent]));
        place(&mut snapshot, "n1", leaving, "-");
        assert!(clearing(&snapshot));
        snapshot.set_node(
            &value!({"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "500m", "pods": "10"}}}),
        );
        assert!(!clearing(&snapshot), "the node has become too small");
    }
}
