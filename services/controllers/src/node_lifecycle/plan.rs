//! Conditions, taints and eviction rates, decided.

use crate::common::{Meta, conditions};
use crate::kinds::{Node, NodeCondition, Taint, Time};
use api::core::v1::NodeStatus;
use jiff::Timestamp;
use std::collections::HashMap;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taints by the condition that brings them when it is true.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

fn status_of<'a>(node: &'a Node, kind: &str) -> &'a str {
    let condition = node
        .status
        .as_ref()
        .and_then(|s| conditions::find(&s.conditions, kind));
    condition.map_or("Unknown", |c| c.status.as_str())
}

pub(super) fn is_ready(node: &Node) -> bool {
    status_of(node, "Ready") == "True"
}

/// Region and zone as one name; nodes without belong to one zone together.
pub(super) fn zone(node: &Node) -> String {
    let label = |key| node.label(key).unwrap_or("");
    format!(
        "{}:{}",
        label("topology.kubernetes.io/region"),
        label("topology.kubernetes.io/zone")
    )
}

/// The status of a silent node; `None` if it says so already.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Option<NodeStatus> {
    let mut status = node.status.clone().unwrap_or_default();
    let mut changed = false;
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let found = status.conditions.iter_mut().flatten().find(|c| c.type_ == kind);
        match found {
            Some(c) if c.status == "Unknown" => {}
            Some(c) => {
                c.status = "Unknown".into();
                c.reason = Some("NodeStatusUnknown".into());
                c.message = Some("Kubelet stopped posting node status.".into());
                c.last_transition_time = Some(Time(now));
                changed = true;
            }
            None => {
                status.conditions.get_or_insert_default().push(NodeCondition {
                    type_: kind.into(),
                    status: "Unknown".into(),
                    reason: Some("NodeStatusNeverUpdated".into()),
                    message: Some("Kubelet never posted node status.".into()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(Time(now)),
                });
                changed = true;
            }
        }
    }
    changed.then_some(status)
}

/// The taints a node should have; `None` if it has them. `may_evict` is asked before a NoExecute taint is added.
pub(super) fn taints<E>(
    node: &Node,
    now: Timestamp,
    may_evict: impl FnOnce() -> Result<bool, E>,
) -> Result<Option<Vec<Taint>>, E> {
    let old: &[Taint] = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let trouble = match status_of(node, "Ready") {
        "True" => None,
        "False" => Some(NOT_READY),
        _ => Some(UNREACHABLE),
    };
    let has = |key: &str, effect: &str| old.iter().any(|t| t.key == key && t.effect == effect);
    if let Some(key) = trouble {
        wanted.push((key, "NoSchedule"));
        if has(key, "NoExecute") || may_evict()? {
            wanted.push((key, "NoExecute"));
        } else if let Some(other) = [NOT_READY, UNREACHABLE].into_iter().find(|k| has(k, "NoExecute")) {
            // It was being evicted under the other name; that does not stop.
            wanted.push((other, "NoExecute"));
        }
    }
    for (condition, key) in PRESSURES {
        if status_of(node, condition) == "True" {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |t: &Taint| {
        let pressure = PRESSURES.iter().any(|(_, key)| *key == t.key);
        let noexecute = [NOT_READY, UNREACHABLE].contains(&t.key.as_str());
        (t.effect == "NoSchedule" && (pressure || noexecute || t.key == UNSCHEDULABLE))
            || (t.effect == "NoExecute" && noexecute)
    };
    let mut new: Vec<Taint> = old
        .iter()
        .filter(|t| !ours(t) || wanted.iter().any(|(k, e)| t.key == *k && t.effect == *e))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !has(key, effect) {
            new.push(Taint {
                key: key.into(),
                effect: effect.into(),
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    Ok((new != old).then_some(new))
}

/// Nodes of a zone that may be evicted in a second. `zones`: ready nodes and all nodes.
///
/// Upstream's rules: 0.1 in a healthy zone; when 55% and at least three of a zone's nodes fail, 0.01 if the zone has
/// more than 50 nodes, else none; when no zone has a ready node, none, since then it is we who are cut off.
pub(super) fn eviction_rate(zones: &HashMap<String, (usize, usize)>, zone: &str) -> f64 {
    if zones.values().all(|(ready, _)| *ready == 0)
        && zones.values().map(|(_, total)| total).sum::<usize>() > 1
    {
        return 0.0;
    }
    let (ready, total) = zones.get(zone).copied().unwrap_or((0, 0));
    let failed = total - ready;
    if ready > 0 && failed > 2 && failed * 100 >= total * 55 {
        return if total > 50 { 0.01 } else { 0.0 };
    }
    0.1
}

/// Meters evictions of one zone: one at once, then by rate.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    last: Option<Timestamp>,
}

impl Bucket {
    pub(super) fn take(&mut self, rate: f64, now: Timestamp) -> bool {
        if rate <= 0.0 {
            return false;
        }
        let waited = self.last.map(|t| now.duration_since(t).as_secs_f64());
        if waited.is_some_and(|w| w < 1.0 / rate) {
            return false;
        }
        self.last = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, object};

    fn node(ready: &str, rest: &str) -> Node {
        object(&format!(
            r#"{{"metadata":{{"name":"n"}}{rest},"status":{{"conditions":[{{"type":"Ready","status":"{ready}"}},
            {{"type":"MemoryPressure","status":"False"}}]}}}}"#
        ))
    }

    fn keys(taints: &[Taint]) -> Vec<(&str, &str)> {
        taints
            .iter()
            .map(|t| (t.key.rsplit('/').next().unwrap(), t.effect.as_str()))
            .collect()
    }

    #[test]
    fn a_silent_node_is_unknown_and_tainted_and_recovers() {
        let now = at("2026-01-01T00:00:00Z");
        let mut n = node("True", "");
        n.status = unknown(&n, now);
        assert_eq!(status_of(&n, "Ready"), "Unknown");
        assert_eq!(n.status.as_ref().unwrap().conditions.as_ref().unwrap().len(), 4);
        assert!(unknown(&n, now).is_none(), "told once");
        let slow = taints(&n, now, || Ok::<_, ()>(false)).unwrap().unwrap();
        assert_eq!(keys(&slow), [("unreachable", "NoSchedule")]);
        let full = taints(&n, now, || Ok::<_, ()>(true)).unwrap().unwrap();
        assert_eq!(
            keys(&full),
            [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]
        );
        let mut back = node(
            "True",
            r#","spec":{"taints":[{"key":"mine","effect":"NoExecute"}],"unschedulable":true}"#,
        );
        back.spec.as_mut().unwrap().taints.as_mut().unwrap().extend(full);
        let after = taints(&back, now, || Ok::<_, ()>(true)).unwrap().unwrap();
        assert_eq!(
            keys(&after),
            [("mine", "NoExecute"), ("unschedulable", "NoSchedule")]
        );
    }

    #[test]
    fn a_failing_zone_is_evicted_slowly_and_a_failing_world_not_at_all() {
        let zones = |a: (usize, usize), b: (usize, usize)| HashMap::from([("a".into(), a), ("b".into(), b)]);
        assert!(eviction_rate(&zones((9, 10), (10, 10)), "a") > 0.05);
        assert!(eviction_rate(&zones((2, 10), (10, 10)), "a") <= 0.0);
        assert!(eviction_rate(&zones((20, 100), (10, 10)), "a") < 0.05);
        assert!(
            eviction_rate(&zones((0, 10), (10, 10)), "a") > 0.05,
            "one whole zone is gone: evict"
        );
        assert!(eviction_rate(&zones((0, 10), (0, 10)), "a") <= 0.0);
        let mut bucket = Bucket::default();
        let now = at("2026-01-01T00:00:00Z");
        assert!(
            bucket.take(0.1, now) && !bucket.take(0.1, now) && bucket.take(0.1, crate::common::plus(now, 10))
        );
    }
}
