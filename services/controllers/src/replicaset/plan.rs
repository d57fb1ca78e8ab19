//! What to do about the pods that there are.

use super::kinds::{Failure, ReplicaStatus, Replicated};
use crate::common::{count, pods};
use crate::kinds::Pod;
use jiff::Timestamp;
use std::collections::HashMap;

/// Pods created or deleted in one pass at most.
const BURST: usize = 500;

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// So many new pods.
    pub(super) create: usize,
    /// These go.
    pub(super) delete: Vec<Pod>,
    /// Some pod becomes available only then.
    pub(super) look_at: Option<Timestamp>,
}

pub(super) fn decide<K: Replicated>(owner: &K, all: &[Pod], now: Timestamp) -> Plan {
    let mut active: Vec<&Pod> = all.iter().filter(|p| pods::is_active(p)).collect();
    let wanted = usize::try_from(owner.replicas()).unwrap_or(0);
    let look_at = pods::next_available(active.iter().copied(), owner.min_ready(), now);
    let create = wanted.saturating_sub(active.len()).min(BURST);
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    let mut delete = Vec::new();
    if surplus > 0 {
        let mut by_node: HashMap<&str, usize> = HashMap::new();
        for pod in &active {
            *by_node.entry(pods::node(pod).unwrap_or("")).or_default() += 1;
        }
        let crowd = |p: &Pod| by_node.get(pods::node(p).unwrap_or("")).copied().unwrap_or(0);
        active.sort_by(|a, b| pods::deletion_order(a, b, crowd, now));
        delete = active[..surplus].iter().map(|p| (*p).clone()).collect();
    }
    Plan {
        create,
        delete,
        look_at,
    }
}

/// The status that the pods make.
pub(super) fn status<K: Replicated>(
    owner: &K,
    all: &[Pod],
    failure: Option<(&'static str, String)>,
    now: Timestamp,
) -> ReplicaStatus {
    let active: Vec<&Pod> = all.iter().filter(|p| pods::is_active(p)).collect();
    let template = owner
        .template()
        .metadata
        .and_then(|m| m.labels)
        .unwrap_or_default();
    let labelled = |p: &Pod| {
        let labels = p.metadata.labels.as_ref();
        template
            .iter()
            .all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
    };
    let old = owner.replica_status();
    let failure = failure.map(|(reason, message)| {
        let since = old.failure.map_or(now, |f| f.since);
        Failure {
            reason: reason.into(),
            message,
            since,
        }
    });
    let number = |keep: &dyn Fn(&Pod) -> bool| count(active.iter().filter(|p| keep(p)).count());
    let terminating = all
        .iter()
        .filter(|p| crate::common::Meta::deleting(*p) && !pods::is_finished(p))
        .count();
    ReplicaStatus {
        replicas: count(active.len()),
        fully_labeled: number(&labelled),
        ready: number(&pods::is_ready),
        available: number(&|p| pods::is_available(p, owner.min_ready(), now)),
        // Kept only where the server keeps it (a feature of newer versions, and never for ReplicationControllers).
        terminating: old.terminating.map(|_| count(terminating)),
        failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::ReplicaSet;
    use crate::testing::{at, object, pod};

    fn owner(replicas: i32) -> ReplicaSet {
        object(&format!(
            r#"{{"metadata":{{"name":"rs","uid":"u"}},"spec":{{"replicas":{replicas},"selector":{{"matchLabels":{{"a":"b"}}}},
            "template":{{"metadata":{{"labels":{{"a":"b"}}}}}}}}}}"#
        ))
    }

    #[test]
    fn finished_and_dying_pods_are_replaced() {
        let all = [
            pod(r#"{"metadata":{"name":"a","labels":{"a":"b"}},"status":{"phase":"Running"}}"#),
            pod(r#"{"metadata":{"name":"b"},"status":{"phase":"Failed"}}"#),
            pod(
                r#"{"metadata":{"name":"c","deletionTimestamp":"2026-01-01T00:00:00Z"},"status":{"phase":"Running"}}"#,
            ),
        ];
        let now = at("2026-01-01T00:00:00Z");
        let plan = decide(&owner(3), &all, now);
        assert_eq!((plan.create, plan.delete.len()), (2, 0));
        let status = status(&owner(3), &all, None, now);
        assert_eq!((status.replicas, status.fully_labeled, status.ready), (1, 1, 0));
    }

    #[test]
    fn the_surplus_begins_with_pods_that_do_nothing() {
        let running = r#""status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}"#;
        let all = [
            pod(&format!(
                r#"{{"metadata":{{"name":"a","uid":"1"}},"spec":{{"nodeName":"n","containers":[]}},{running}}}"#
            )),
            pod(r#"{"metadata":{"name":"b","uid":"2"},"status":{"phase":"Pending"}}"#),
            pod(&format!(
                r#"{{"metadata":{{"name":"c","uid":"3"}},"spec":{{"nodeName":"n","containers":[]}},{running}}}"#
            )),
        ];
        let plan = decide(&owner(2), &all, at("2026-01-01T00:00:00Z"));
        assert_eq!(
            plan.delete
                .iter()
                .map(|p| p.metadata.name.as_deref().unwrap())
                .collect::<Vec<_>>(),
            ["b"]
        );
        assert_eq!(
            decide(&owner(0), &all, at("2026-01-01T00:00:00Z")).delete.len(),
            3
        );
        assert_eq!(
            decide(&owner(10_000), &[], at("2026-01-01T00:00:00Z")).create,
            500
        );
    }
}
