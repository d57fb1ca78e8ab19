//! The counts of a budget.

use crate::common::{Meta, Object, count, numbers, plus, pods};
use crate::kinds::{Condition, IntOrString, Pod, PodDisruptionBudget, PodDisruptionBudgetStatus, Time};
use jiff::Timestamp;

/// The condition that tells whether a pod may go.
const ALLOWED: &str = "DisruptionAllowed";
/// How long a pod may take from its eviction to its deletion.
const PATIENCE: i64 = 120;

/// What a budget asks for.
#[derive(Debug)]
pub(super) enum Wish {
    /// So many healthy pods, whatever the total is.
    Healthy(i32),
    /// A part of the total that is healthy.
    Available(IntOrString),
    /// A part of the total that may be missing.
    Unavailable(IntOrString),
}

/// A total and how many of it have to be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) total: i32,
    pub(super) healthy: i32,
}

impl Expected {
    /// An absolute number: the total is what is there.
    pub(super) fn healthy(healthy: i32, pods: &[Pod]) -> Self {
        Self {
            total: count(pods.len()),
            healthy,
        }
    }
}

/// Reads the spec. A budget that asks for nothing is met by any number.
pub(super) fn wish(budget: &PodDisruptionBudget) -> Wish {
    let spec = budget.spec.as_ref();
    if let Some(missing) = spec.and_then(|s| s.max_unavailable.clone()) {
        return Wish::Unavailable(missing);
    }
    match spec.and_then(|s| s.min_available.clone()) {
        Some(IntOrString::Int(n)) => Wish::Healthy(n),
        Some(part) => Wish::Available(part),
        None => Wish::Healthy(0),
    }
}

impl Wish {
    /// What it means for a total. Percentages round up.
    pub(super) fn of(&self, total: i32) -> Expected {
        let healthy = match self {
            Self::Healthy(n) => *n,
            Self::Available(part) => numbers::scaled(Some(part), total, true, "0"),
            Self::Unavailable(part) => (total - numbers::scaled(Some(part), total, true, "0")).max(0),
        };
        Expected { total, healthy }
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) status: PodDisruptionBudgetStatus,
    /// Pods that were evicted and did not go.
    pub(super) overdue: Vec<String>,
    pub(super) look_at: Option<Timestamp>,
}

/// Sets the condition; the transition time moves with the status.
fn tell(
    budget: &PodDisruptionBudget,
    status: &mut PodDisruptionBudgetStatus,
    (allowed, reason, message): (bool, &str, &str),
    now: Timestamp,
) {
    let text = if allowed { "True" } else { "False" };
    let all = status.conditions.get_or_insert_default();
    let old = all.iter().position(|c| c.type_ == ALLOWED);
    let since = old.map(|at| &all[at]).filter(|c| c.status == text);
    let since = since.map_or(Time(now), |c| c.last_transition_time.clone());
    let new = Condition {
        type_: ALLOWED.into(),
        status: text.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: Some(budget.generation()),
        last_transition_time: since,
    };
    match old {
        Some(at) => all[at] = new,
        None => all.push(new),
    }
}

/// Counts.
pub(super) fn decide(budget: &PodDisruptionBudget, all: &[Pod], expected: Expected, now: Timestamp) -> Plan {
    let mut status = budget.status.clone().unwrap_or_default();
    let (mut overdue, mut look_at) = (Vec::new(), None::<Timestamp>);
    let noted = status.disrupted_pods.take().unwrap_or_default();
    let mut kept = std::collections::BTreeMap::new();
    for (name, since) in noted {
        // Gone, or on its way: the note has done its duty.
        if all.iter().all(|p| p.name() != name || p.deleting()) {
            continue;
        }
        let end = plus(since.0, PATIENCE);
        if end <= now {
            overdue.push(name);
            continue;
        }
        look_at = Some(look_at.map_or(end, |t| t.min(end)));
        kept.insert(name, since);
    }
    let healthy = all
        .iter()
        .filter(|p| !p.deleting() && !kept.contains_key(p.name()) && pods::is_ready(p))
        .count();
    let healthy = count(healthy);
    let allowed = if expected.total <= 0 {
        0
    } else {
        (healthy - expected.healthy).max(0)
    };
    status.disrupted_pods = (!kept.is_empty()).then_some(kept);
    status.current_healthy = Some(healthy);
    status.desired_healthy = Some(expected.healthy);
    status.expected_pods = Some(expected.total);
    status.disruptions_allowed = Some(allowed);
    status.observed_generation = Some(budget.generation());
    let verdict = if allowed > 0 {
        (true, "SufficientPods", "")
    } else {
        (false, "InsufficientPods", "")
    };
    tell(budget, &mut status, verdict, now);
    Plan {
        status,
        overdue,
        look_at,
    }
}

/// Nothing is allowed, because something could not be counted.
pub(super) fn refuse(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> Plan {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    status.current_healthy = status.current_healthy.or(Some(0));
    status.desired_healthy = status.desired_healthy.or(Some(0));
    status.expected_pods = status.expected_pods.or(Some(0));
    status.observed_generation = Some(budget.generation());
    tell(budget, &mut status, (false, "SyncFailed", why), now);
    Plan {
        status,
        overdue: Vec::new(),
        look_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, object, pod};

    fn budget(spec: &str, status: &str) -> PodDisruptionBudget {
        object(&format!(
            r#"{{"metadata":{{"name":"b","namespace":"ns","generation":2}},"spec":{{{spec}}},"status":{{{status}}}}}"#
        ))
    }

    fn ready(name: &str) -> Pod {
        pod(&format!(
            r#"{{"metadata":{{"name":"{name}"}},"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
        ))
    }

    #[test]
    fn parts_of_the_total_round_up() {
        let healthy = |spec: &str, total| wish(&budget(spec, "")).of(total).healthy;
        assert_eq!(healthy(r#""minAvailable":"50%""#, 5), 3);
        assert_eq!(healthy(r#""maxUnavailable":"30%""#, 5), 3);
        assert_eq!(healthy(r#""maxUnavailable":7"#, 5), 0);
        assert!(matches!(
            wish(&budget(r#""minAvailable":2"#, "")),
            Wish::Healthy(2)
        ));
    }

    #[test]
    fn what_is_over_the_wish_may_go() {
        let now = at("2026-01-01T00:00:00Z");
        let mut all = vec![ready("a"), ready("b"), ready("c")];
        let b = budget(r#""minAvailable":2"#, "");
        let plan = decide(&b, &all, Expected::healthy(2, &all), now);
        assert_eq!(
            (plan.status.disruptions_allowed, plan.status.current_healthy),
            (Some(1), Some(3))
        );
        let told = &plan.status.conditions.as_ref().unwrap()[0];
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            ("True", "SufficientPods")
        );
        all.pop();
        let plan = decide(&b, &all, Expected::healthy(2, &all), now);
        assert_eq!(plan.status.disruptions_allowed, Some(0));
        assert_eq!(plan.status.conditions.unwrap()[0].reason, "InsufficientPods");
    }

    #[test]
    fn an_evicted_pod_counts_as_gone_until_it_goes_or_time_runs_out() {
        let all = [ready("a"), ready("b"), ready("c")];
        let b = budget(
            r#""minAvailable":1"#,
            r#""disruptedPods":{"a":"2026-01-01T00:00:00Z","gone":"2026-01-01T00:00:00Z"}"#,
        );
        let soon = decide(&b, &all, Expected::healthy(1, &all), at("2026-01-01T00:00:30Z"));
        assert_eq!(soon.status.current_healthy, Some(2));
        assert_eq!(soon.status.disrupted_pods.unwrap().len(), 1);
        assert_eq!(soon.look_at, Some(at("2026-01-01T00:02:00Z")));
        let late = decide(&b, &all, Expected::healthy(1, &all), at("2026-01-01T00:02:00Z"));
        assert_eq!(
            (late.status.current_healthy, late.overdue),
            (Some(3), vec!["a".to_owned()])
        );
        assert_eq!(late.status.disrupted_pods, None);
    }
}
