//! Which nodes get a pod, which pods go, and the counts.

use crate::common::revisions::POD_HASH;
use crate::common::{Meta, Object, nodes, numbers, nz, plus, pods};
use crate::kinds::{
    DaemonSet, DaemonSetStatus, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};
use crate::replicaset::pod_of;
use jiff::Timestamp;
use runtime::Key;
use std::collections::{BTreeMap, HashMap};

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Nodes that get a pod.
    pub(super) create: Vec<String>,
    /// Pods that go.
    pub(super) delete: Vec<Pod>,
    /// Of these, the ones that failed.
    pub(super) failed: Vec<Pod>,
    pub(super) status: DaemonSetStatus,
    pub(super) look_at: Option<Timestamp>,
}

/// How often a DaemonSet's pods failed on a node in a row, and when. After 15 minutes of peace it is forgotten.
pub(super) type Backoff = HashMap<(Key, String), (u32, Timestamp)>;

/// When a failed pod may be replaced: after 1 s, 2 s, 4 s and so on to 15 minutes.
fn ripe(backoff: &mut Backoff, key: &Key, node: &str, now: Timestamp) -> Result<(), Timestamp> {
    if backoff.len() > 65_536 {
        backoff.retain(|_, (_, at)| plus(*at, 1800) > now);
    }
    let (times, at) = backoff
        .entry((key.clone(), node.to_string()))
        .or_insert((0, Timestamp::UNIX_EPOCH));
    let pause = 1i64.checked_shl(*times).unwrap_or(900).clamp(1, 900);
    if *times > 0 && plus(*at, pause) > now {
        return Err(plus(*at, pause));
    }
    *times = if plus(*at, 1800) < now {
        1
    } else {
        (*times + 1).min(10)
    };
    *at = now;
    Ok(())
}

/// The node a daemon's pod is on, or is meant for.
pub(super) fn target(pod: &Pod) -> Option<String> {
    if let Some(node) = pods::node(pod) {
        return Some(node.into());
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity
        .required_during_scheduling_ignored_during_execution
        .as_ref()?
        .node_selector_terms;
    let fields = terms.iter().flat_map(|t| t.match_fields.iter().flatten());
    let mut names = fields.filter(|r| r.key == "metadata.name" && r.operator == "In");
    names.next()?.values.as_ref()?.first().cloned()
}

/// The pod spec with the tolerations that every daemon has.
fn daemon_spec(set: &DaemonSet) -> PodSpec {
    let mut spec = set.spec.template.spec.clone().unwrap_or_default();
    let host = spec.host_network == Some(true);
    let mut all = vec![
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    if host {
        all.push(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    }
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in all {
        let toleration = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    spec
}

/// The pod for a node.
pub(super) fn pod(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let mut template = set.spec.template.clone();
    let mut spec = daemon_spec(set);
    let only = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.into()]),
    };
    let affinity = spec
        .affinity
        .get_or_insert_default()
        .node_affinity
        .get_or_insert_default();
    let required = affinity
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    let terms = std::mem::take(&mut required.node_selector_terms);
    let terms = terms.into_iter().map(|t| NodeSelectorTerm {
        match_fields: Some(vec![only.clone()]),
        ..t
    });
    *required = NodeSelector {
        node_selector_terms: terms.collect(),
    };
    template.spec = Some(spec);
    let mut pod = pod_of(set, &template);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_HASH.into(), hash.into());
    labels.insert("pod-template-generation".into(), set.generation().to_string());
    pod
}

fn is_current(pod: &Pod, hash: &str) -> bool {
    pod.label(POD_HASH) == Some(hash)
}

pub(super) fn decide(
    set: &DaemonSet,
    all_nodes: &[Node],
    all_pods: &[Pod],
    hash: &str,
    (key, backoff): (&Key, &mut Backoff),
    now: Timestamp,
) -> Plan {
    let spec = daemon_spec(set);
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let up = |p: &Pod| pods::is_available(p, min_ready, now);
    let mut by_node: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
    for pod in all_pods {
        by_node
            .entry(target(pod).unwrap_or_default())
            .or_default()
            .push(pod);
    }
    for list in by_node.values_mut() {
        list.sort_by_key(|p| (p.created(), p.name().to_string()));
    }
    let strategy = set.spec.update_strategy.as_ref();
    let rolling = strategy.is_none_or(|s| s.type_.as_deref().unwrap_or("RollingUpdate") == "RollingUpdate");
    let limits = strategy.and_then(|s| s.rolling_update.as_ref());
    let mut plan = Plan {
        look_at: pods::next_available(all_pods, min_ready, now),
        ..Plan::default()
    };
    let mut status = DaemonSetStatus {
        observed_generation: Some(set.generation()),
        ..DaemonSetStatus::default()
    };
    status.conditions = set.status.as_ref().and_then(|s| s.conditions.clone());
    let (mut ready, mut updated, mut available) = (0, 0, 0);
    let mut running: Vec<(String, Vec<&Pod>)> = Vec::new();
    for node in all_nodes {
        let fits = nodes::selected(&spec, node);
        let may_start = fits && nodes::tolerated(&spec, node, &["NoSchedule", "NoExecute"]);
        let may_stay = fits && nodes::tolerated(&spec, node, &["NoExecute"]);
        let here = by_node.remove(node.name()).unwrap_or_default();
        // Upstream counts a node as wanted if a new pod would be started there.
        if may_start {
            status.desired_number_scheduled += 1;
            if let Some(first) = here.first() {
                status.current_number_scheduled += 1;
                ready += i32::from(pods::is_ready(first));
                available += i32::from(pods::is_ready(first) && up(first));
                updated += i32::from(here.iter().any(|p| is_current(p, hash)));
            }
        } else if !here.is_empty() {
            status.number_misscheduled += 1;
        }
        if !may_stay {
            plan.delete
                .extend(here.into_iter().filter(|p| !p.deleting()).cloned());
            continue;
        }
        let mut alive = Vec::new();
        let mut failed_waits = false;
        for pod in here {
            if pod.deleting() {
                // Its place is not free before it is gone.
                failed_waits = true;
            } else if pods::is_finished(pod) {
                match ripe(backoff, key, node.name(), now) {
                    Ok(()) => {
                        if pods::phase(pod) == "Failed" {
                            plan.failed.push(pod.clone());
                        }
                        plan.delete.push(pod.clone());
                    }
                    Err(at) => {
                        plan.look_at = Some(plan.look_at.map_or(at, |t| t.min(at)));
                        failed_waits = true;
                    }
                }
            } else {
                alive.push(pod);
            }
        }
        if alive.is_empty() && !failed_waits && may_start {
            plan.create.push(node.name().into());
        }
        if may_start || !alive.is_empty() {
            running.push((node.name().into(), alive));
        }
    }
    // Pods of nodes that are gone, before they were bound.
    plan.delete.extend(
        by_node
            .into_values()
            .flatten()
            .filter(|p| pods::node(p).is_none() && !p.deleting())
            .cloned(),
    );
    let desired = status.desired_number_scheduled;
    let surge = numbers::scaled(limits.and_then(|l| l.max_surge.as_ref()), desired, true, "0");
    let mut missing = numbers::scaled(
        limits.and_then(|l| l.max_unavailable.as_ref()),
        desired,
        true,
        "1",
    );
    if surge == 0 && missing == 0 {
        missing = 1;
    }
    excess(&running, surge > 0 && rolling, hash, &up, &mut plan);
    if rolling {
        if surge > 0 {
            surging(&running, surge, hash, &up, &mut plan);
        } else {
            replacing(&running, missing, hash, &up, &mut plan);
        }
    }
    status.number_ready = ready;
    status.updated_number_scheduled = nz(updated);
    status.number_available = nz(available);
    status.number_unavailable = nz(desired - available);
    plan.status = status;
    plan
}

type Up<'a> = &'a dyn Fn(&Pod) -> bool;

/// More pods on a node than there may be: the oldest stays (with a surge: the oldest of each kind).
fn excess(running: &[(String, Vec<&Pod>)], surges: bool, hash: &str, up: Up<'_>, plan: &mut Plan) {
    for (_, here) in running.iter().filter(|(_, h)| h.len() > 1) {
        if !surges {
            plan.delete.extend(here[1..].iter().map(|p| (*p).clone()));
            continue;
        }
        let (new, old): (Vec<&&Pod>, Vec<&&Pod>) = here.iter().partition(|p| is_current(p, hash));
        plan.delete.extend(
            new.iter()
                .skip(1)
                .chain(old.iter().skip(1))
                .map(|p| (**p).clone()),
        );
        // The new one serves: the old one has done its duty.
        if new.first().is_some_and(|p| up(p)) {
            plan.delete.extend(old.first().map(|p| (**p).clone()));
        }
    }
}

/// Without a surge: old pods go as far as `missing` allows; those that serve nobody go first and for free.
fn replacing(running: &[(String, Vec<&Pod>)], missing: i32, hash: &str, up: Up<'_>, plan: &mut Plan) {
    let mut down = 0;
    let mut candidates = Vec::new();
    for (_, here) in running {
        match here.as_slice() {
            [one] if is_current(one, hash) => down += i32::from(!up(one)),
            [one] if up(one) => candidates.push((*one).clone()),
            [one] => {
                down += 1;
                plan.delete.push((*one).clone());
            }
            _ => down += 1,
        }
    }
    let room = usize::try_from(missing - down).unwrap_or(0);
    plan.delete.extend(candidates.into_iter().take(room));
}

/// With a surge: new pods come beside old ones.
fn surging(running: &[(String, Vec<&Pod>)], surge: i32, hash: &str, up: Up<'_>, plan: &mut Plan) {
    let surplus = running.iter().filter(|(_, h)| h.len() > 1).count();
    let mut room = usize::try_from(surge).unwrap_or(0).saturating_sub(surplus);
    for (node, here) in running {
        let [one] = here.as_slice() else { continue };
        if is_current(one, hash) {
            continue;
        }
        if !up(one) {
            plan.create.push(node.clone());
        } else if room > 0 {
            room -= 1;
            plan.create.push(node.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, object};

    /// How many pods are of a revision.
    fn current(all: &[Pod], hash: &str) -> usize {
        all.iter().filter(|p| is_current(p, hash)).count()
    }

    fn set(strategy: &str) -> DaemonSet {
        object(&format!(
            r#"{{"metadata":{{"name":"d","namespace":"ns","uid":"d"}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},
            "template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"nodeSelector":{{"disk":"ssd"}},"containers":[]}}}}{strategy}}}}}"#
        ))
    }

    fn nodes(n: usize) -> Vec<Node> {
        (0..n)
            .map(|i| {
                object(&format!(
                    r#"{{"metadata":{{"name":"n{i}","labels":{{"disk":"ssd"}}}},"spec":{{"unschedulable":true,
                "taints":[{{"key":"node.kubernetes.io/unschedulable","effect":"NoSchedule"}}]}}}}"#
                ))
            })
            .collect()
    }

    /// Passes until nothing changes; every pod that is made runs at once. Returns the most pods that were missing.
    fn roll(set: &DaemonSet, nodes: &[Node], pods: &mut Vec<Pod>, hash: &str) -> usize {
        let now = at("2026-01-01T00:00:00Z");
        let key = Key::new(&"c".parse().unwrap(), "ns", "d");
        let (mut backoff, mut worst, mut made) = (Backoff::new(), 0, 0);
        for _ in 0..200 {
            let plan = decide(set, nodes, pods, hash, (&key, &mut backoff), now);
            if plan.create.is_empty() && plan.delete.is_empty() {
                return worst;
            }
            pods.retain(|p| !plan.delete.iter().any(|d| d.uid() == p.uid()));
            let served = nodes
                .iter()
                .filter(|n| pods.iter().any(|p| target(p).as_deref() == Some(n.name())))
                .count();
            worst = worst.max(nodes.len() - served);
            for node in plan.create {
                let mut new = pod(set, &node, hash);
                made += 1;
                new.metadata.uid = Some(format!("{hash}{made}"));
                new.metadata.name = new.metadata.uid.clone();
                let ready = r#"{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}"#;
                let with: Pod = object(&format!(r#"{{"status":{ready}}}"#));
                new.status = with.status;
                pods.push(new);
            }
        }
        panic!("it never settles");
    }

    #[test]
    fn every_node_that_suits_gets_one_pod_and_updates_stay_within_bounds() {
        let mut all = nodes(5);
        all.push(object(r#"{"metadata":{"name":"other"}}"#));
        let mut pods = Vec::new();
        roll(&set(""), &all, &mut pods, "v1");
        assert_eq!((pods.len(), current(&pods, "v1")), (5, 5));
        let all = nodes(5);
        assert_eq!(roll(&set(""), &all, &mut pods, "v2"), 1, "one at a time");
        assert_eq!(current(&pods, "v2"), 5);
        let surge = set(
            r#","updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":2,"maxUnavailable":0}}"#,
        );
        assert_eq!(roll(&surge, &all, &mut pods, "v3"), 0, "never one too few");
        assert_eq!((pods.len(), current(&pods, "v3")), (5, 5));
        let by_hand = set(r#","updateStrategy":{"type":"OnDelete"}"#);
        roll(&by_hand, &all, &mut pods, "v4");
        assert_eq!(current(&pods, "v4"), 0);
    }

    #[test]
    fn a_pod_that_fails_again_and_again_is_replaced_ever_more_slowly() {
        let key = Key::new(&"c".parse().unwrap(), "ns", "d");
        let mut backoff = Backoff::new();
        let mut now = at("2026-01-01T00:00:00Z");
        let mut pauses = Vec::new();
        for _ in 0..4 {
            assert_eq!(ripe(&mut backoff, &key, "n", now), Ok(()));
            let next = ripe(&mut backoff, &key, "n", now).unwrap_err();
            pauses.push(next.duration_since(now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [2, 4, 8, 16]);
    }
}
