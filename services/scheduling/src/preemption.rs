//! Which pods of lower priority would have to go so that a pod finds a place (Kubernetes documentation, "Pod Priority
//! and Preemption").
//!
//! Each node is tried: all its pods of lower priority are taken away; if the pod fits then, as many of them as possible
//! are put back, the most important first. The node whose victims matter least wins. Trials happen in the snapshot
//! itself and are undone, since a copy of a large cluster would cost more than the search. Nodes that no departure can
//! help (taints, labels, names) are left out: a plugin that does not wake on departing pods says so.
//!
//! Not considered: disruption budgets, which upstream spares where it can but does not promise to keep.

use crate::framework::Framework;
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

fn message(nodes: usize, reasons: &BTreeMap<&str, usize>) -> Hopeless {
    let mut parts: Vec<String> = reasons.iter().map(|(why, n)| format!("{n} {why}")).collect();
    parts.sort();
    format!("preemption: 0/{nodes} nodes are available: {}.", parts.join(", "))
}

/// Looks for the victims that matter least. The snapshot is as before when this returns.
pub fn find(framework: &Framework, pod: &Pod, snapshot: &mut Snapshot) -> Result<Preemption, Hopeless> {
    if pod.never_preempts {
        return Err("preemption: not eligible due to preemptionPolicy=Never.".into());
    }
    let (helpful, unhelpful) = framework.helped_by_departures(pod, snapshot);
    let helpful: Vec<String> = helpful.into_iter().map(str::to_owned).collect();
    let total = helpful.len() + unhelpful;
    let enough = (total / 10).max(MIN_CANDIDATES);
    let mut without = 0;
    let mut best: Option<(Rank, Preemption)> = None;
    let mut found = 0;
    for name in helpful {
        let Some(victims) = victims(framework, pod, snapshot, &name) else {
            without += 1;
            continue;
        };
        let rank = rank(&victims);
        if best.as_ref().is_none_or(|(least, _)| rank < *least) {
            best = Some((rank, Preemption { node: name, victims }));
        }
        found += 1;
        if found >= enough {
            break;
        }
    }
    match best {
        Some((_, preemption)) => Ok(preemption),
        None => {
            let mut reasons = BTreeMap::new();
            if without > 0 {
                reasons.insert("No preemption victims found for incoming pod", without);
            }
            if unhelpful > 0 {
                reasons.insert("Preemption is not helpful for scheduling", unhelpful);
            }
            Err(message(total, &reasons))
        }
    }
}

/// The highest priority among the victims, their priorities' sum, their number: less is better.
type Rank = (i64, i64, usize);

fn rank(victims: &[Arc<Pod>]) -> Rank {
    let highest = victims.iter().map(|v| v.priority).max().unwrap_or(i64::MIN);
    // Shifted so that many unimportant pods do not look better the more negative their priorities are.
    let sum = victims.iter().map(|v| v.priority.saturating_add(1 << 31)).sum();
    (highest, sum, victims.len())
}

/// Who would have to leave one node; `None` if the pod has no place there even then, or nobody is less important.
fn victims(framework: &Framework, pod: &Pod, snapshot: &mut Snapshot, name: &str) -> Option<Vec<Arc<Pod>>> {
    let node = snapshot.node(name)?;
    let mut lower: Vec<Arc<Pod>> = node
        .pods
        .iter()
        .filter(|p| p.priority < pod.priority)
        .cloned()
        .collect();
    if lower.is_empty() {
        return None;
    }
    lower.sort_by_key(|p| (Reverse(p.priority), p.key.clone()));
    for one in &lower {
        snapshot.displace(&one.key);
    }
    let fits = |snapshot: &Snapshot| {
        let node = snapshot.node(name);
        node.is_some_and(|node| framework.fits(pod, snapshot, node).is_ok())
    };
    let mut gone: Vec<Arc<Pod>> = Vec::new();
    let possible = fits(snapshot);
    for one in &lower {
        snapshot.place(one.clone(), name);
        if possible && !fits(snapshot) {
            snapshot.displace(&one.key);
            gone.push(one.clone());
        }
    }
    for one in &gone {
        snapshot.place(one.clone(), name);
    }
    (possible && !gone.is_empty()).then_some(gone)
}

/// Whether any of these pods is still placed on a node.
pub fn are_there(snapshot: &Snapshot, node: &str, pods: &[PodKey]) -> bool {
    pods.iter().any(|key| snapshot.place_of(key) == Some(node))
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
        let small = find(&framework, &asked("500m", 10), &mut snapshot).unwrap();
        assert_eq!((small.node.as_str(), names(&small)), ("n1", vec!["c"]));
        let large = find(&framework, &asked("2", 10), &mut snapshot).unwrap();
        assert_eq!((large.node.as_str(), names(&large)), ("n1", vec!["a", "b", "c"]));
        assert_eq!(
            snapshot.node("n1").unwrap().used.milli_cpu,
            before,
            "trials leave nothing behind"
        );
        assert_eq!(
            find(&framework, &asked("2", 1), &mut snapshot).unwrap_err(),
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
        let why = find(&framework, &Pod::read(&picky), &mut snapshot).unwrap_err();
        assert_eq!(
            why,
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        );
        let mut meek = pod("new", 10, "2");
        meek.at_mut(&["spec"]).insert("preemptionPolicy", "Never");
        let why = find(&framework, &Pod::read(&meek), &mut snapshot).unwrap_err();
        assert_eq!(why, "preemption: not eligible due to preemptionPolicy=Never.");
    }
}
