//! What a pod's status means to those who manage it (upstream's `pkg/api/v1/pod` and `controller_utils`).

use super::{Meta, Object, conditions, plus};
use crate::kinds::Pod;
use jiff::Timestamp;
use std::cmp::{Ordering, Reverse};

/// `status.phase`, or `Pending` where there is none.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or("Pending")
}

/// Succeeded or Failed: it will never run again.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !pod.deleting()
}

/// The node it is bound to.
pub(crate) fn node(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .filter(|n| !n.is_empty())
}

/// Whether its condition Ready is true.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .is_some_and(|s| conditions::is_true(&s.conditions, "Ready"))
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = conditions::find(&pod.status.as_ref()?.conditions, "Ready")?;
    (ready.status == "True")
        .then(|| ready.last_transition_time.as_ref().map(|t| t.0))
        .flatten()
}

/// Whether it has been ready for `min_ready` seconds.
pub(crate) fn is_available(pod: &Pod, min_ready: i32, now: Timestamp) -> bool {
    is_ready(pod) && (min_ready == 0 || ready_since(pod).is_some_and(|t| plus(t, min_ready.into()) <= now))
}

/// When the next of some ready pods becomes available.
pub(crate) fn next_available<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    min_ready: i32,
    now: Timestamp,
) -> Option<Timestamp> {
    let times = pods
        .into_iter()
        .filter_map(ready_since)
        .map(|t| plus(t, min_ready.into()));
    times.filter(|t| *t > now).min()
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|c| c.restart_count)
        .max()
        .unwrap_or(0)
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotation("controller.kubernetes.io/pod-deletion-cost")
        .and_then(|c| c.parse().ok())
        .unwrap_or(0)
}

/// Which of two pods is deleted first (`Less`): unbound, pending, not ready, cheap, crowded, young, often restarted.
/// `crowd` tells how many pods of the same owner run on a pod's node.
pub(crate) fn deletion_order(a: &Pod, b: &Pod, crowd: impl Fn(&Pod) -> usize, now: Timestamp) -> Ordering {
    let phase_rank = |p: &Pod| match phase(p) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    // Times are compared by magnitude, so that not always the very youngest is chosen (upstream's LogarithmicScaleDown).
    let age = |t: Option<Timestamp>| {
        let seconds = t.map_or(0, |t| now.duration_since(t).as_secs().max(0));
        64 - seconds.cast_unsigned().leading_zeros()
    };
    node(a)
        .is_some()
        .cmp(&node(b).is_some())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| age(ready_since(a)).cmp(&age(ready_since(b))))
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| age(Some(a.created())).cmp(&age(Some(b.created()))))
        .then_with(|| a.uid().cmp(b.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn the_less_useful_pod_goes_first() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let unbound = pod(r#"{"metadata":{"uid":"a"}}"#);
        let waiting = pod(r#"{"metadata":{"uid":"b"},"spec":{"nodeName":"n","containers":[]}}"#);
        let ready = pod(
            r#"{"metadata":{"uid":"c"},"spec":{"nodeName":"n","containers":[]},"status":{"phase":"Running",
            "conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2025-12-31T23:59:50Z"}]}}"#,
        );
        let mut all = [ready.clone(), unbound.clone(), waiting.clone()];
        all.sort_by(|a, b| deletion_order(a, b, |_| 1, now));
        assert_eq!(all, [unbound, waiting, ready.clone()]);
        assert!(is_available(&ready, 10, now) && !is_available(&ready, 11, now));
        assert_eq!(next_available([&ready], 11, now), Some(plus(now, 1)));
    }
}
