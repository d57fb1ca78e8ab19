//! What one pass does with the pods, and the counts.

use super::identity::{ordinal, replicas, start};
use crate::common::revisions::POD_HASH;
use crate::common::{Meta, numbers, nz, pods};
use crate::kinds::{Pod, StatefulSet, StatefulSetStatus};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// One write.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// The pod of an ordinal, at the current or at the update revision.
    Create { ordinal: i32, at_current: bool },
    /// A pod goes.
    Delete(Box<Pod>),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: StatefulSetStatus,
    pub(super) look_at: Option<Timestamp>,
}

fn is_parallel(set: &StatefulSet) -> bool {
    set.spec.pod_management_policy.as_deref() == Some("Parallel")
}

fn is_rolling(set: &StatefulSet) -> bool {
    let strategy = set.spec.update_strategy.as_ref();
    strategy
        .and_then(|s| s.type_.as_deref())
        .unwrap_or("RollingUpdate")
        == "RollingUpdate"
}

/// Ordinals below it stay at the current revision.
fn partition(set: &StatefulSet) -> i32 {
    let rolling = set
        .spec
        .update_strategy
        .as_ref()
        .and_then(|s| s.rolling_update.as_ref());
    rolling.and_then(|r| r.partition).unwrap_or(0)
}

fn runs(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}

/// Running, ready and not going away.
fn is_healthy(pod: &Pod) -> bool {
    runs(pod) && !pod.deleting()
}

/// `revisions`: the current one and the one being rolled out.
pub(super) fn decide(set: &StatefulSet, all: &[Pod], revisions: (&str, &str), now: Timestamp) -> Plan {
    let (current, update) = revisions;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let first = start(set);
    let end = first + replicas(set);
    let by_ordinal: BTreeMap<i32, &Pod> = all.iter().filter_map(|p| Some((ordinal(set, p)?, p))).collect();
    let mut plan = Plan {
        status: status(set, all, revisions, now),
        look_at: pods::next_available(all, min_ready, now),
        ..Plan::default()
    };
    let available = |p: &Pod| runs(p) && pods::is_available(p, min_ready, now);
    let parallel = is_parallel(set);

    for at in first..end {
        let Some(pod) = by_ordinal.get(&at) else {
            // Which revision a missing pod gets: below the partition the current one.
            let keeps = is_rolling(set) && at < partition(set);
            plan.steps.push(Step::Create {
                ordinal: at,
                at_current: keeps && current != update,
            });
            if parallel {
                continue;
            }
            return plan;
        };
        if pods::is_finished(pod) && !pod.deleting() {
            plan.steps.push(Step::Delete(Box::new((*pod).clone())));
            if !parallel {
                return plan;
            }
            continue;
        }
        // The next one waits until this one is there for good.
        if !parallel && (pod.deleting() || !runs(pod) || !available(pod)) {
            return update_pods(set, &by_ordinal, plan, (first, end), update, false);
        }
    }

    // Pods beyond the size go from the last one on; each waits for those after it, and for the set to be healthy.
    let condemned: Vec<&Pod> = by_ordinal
        .iter()
        .rev()
        .filter(|(at, _)| **at < first || **at >= end)
        .map(|(_, p)| *p)
        .collect();
    for pod in condemned {
        if !parallel {
            if !pod.deleting() {
                plan.steps.push(Step::Delete(Box::new(pod.clone())));
            }
            return plan;
        }
        if !pod.deleting() {
            plan.steps.push(Step::Delete(Box::new(pod.clone())));
        }
    }
    update_pods(set, &by_ordinal, plan, (first, end), update, true)
}

/// The rolling update: from the last ordinal down to the partition, `maxUnavailable` at a time. While an ordered set
/// waits for a pod (`settled` is false) nothing is updated, as upstream has it.
fn update_pods(
    set: &StatefulSet,
    by_ordinal: &BTreeMap<i32, &Pod>,
    mut plan: Plan,
    (first, end): (i32, i32),
    update: &str,
    settled: bool,
) -> Plan {
    if !settled || !is_rolling(set) || !plan.steps.is_empty() {
        return plan;
    }
    let rolling = set
        .spec
        .update_strategy
        .as_ref()
        .and_then(|s| s.rolling_update.as_ref());
    let missing = rolling.and_then(|r| r.max_unavailable.as_ref());
    let missing = numbers::scaled(missing, replicas(set), true, "1").max(1);
    let lowest = partition(set).max(first);
    let mut down = 0;
    for at in (first..end).rev() {
        if by_ordinal.get(&at).is_none_or(|p| !is_healthy(p)) {
            down += 1;
        }
    }
    for at in (lowest..end).rev() {
        let Some(pod) = by_ordinal.get(&at) else { continue };
        if pod.label(POD_HASH) != Some(update) && !pod.deleting() {
            let sick = !is_healthy(pod);
            if sick || down < missing {
                down += i32::from(!sick);
                plan.steps.push(Step::Delete(Box::new((*pod).clone())));
            }
            if down >= missing {
                return plan;
            }
        } else if !is_healthy(pod) && down >= missing {
            // It was replaced and is not up yet: the others wait.
            return plan;
        }
    }
    plan
}

fn status(
    set: &StatefulSet,
    all: &[Pod],
    (current, update): (&str, &str),
    now: Timestamp,
) -> StatefulSetStatus {
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let old = set.status.clone().unwrap_or_default();
    let created: Vec<&Pod> = all.iter().filter(|p| p.status.is_some()).collect();
    let number =
        |keep: &dyn Fn(&Pod) -> bool| crate::common::count(created.iter().filter(|p| keep(p)).count());
    let at = |revision: &str| number(&|p| !p.deleting() && p.label(POD_HASH) == Some(revision));
    let total = number(&|_| true);
    let ready = number(&runs);
    let (mut now_current, now_updated) = (at(current), at(update));
    let mut current = current;
    // The rollout is complete: what was the update is now the current revision.
    if is_rolling(set) && now_updated == replicas(set) && total == replicas(set) && ready == replicas(set) {
        current = update;
        now_current = now_updated;
    }
    StatefulSetStatus {
        observed_generation: Some(set.metadata.generation.unwrap_or(0)),
        replicas: total,
        ready_replicas: nz(ready),
        available_replicas: nz(number(&|p| runs(p) && pods::is_available(p, min_ready, now))),
        current_replicas: nz(now_current),
        updated_replicas: nz(now_updated),
        current_revision: Some(current.into()),
        update_revision: Some(update.into()),
        collision_count: old.collision_count,
        conditions: old.conditions,
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity;
    use super::*;
    use crate::testing::{at, object, pod};

    fn set(replicas: i32, extra: &str) -> StatefulSet {
        object(&format!(
            r#"{{"metadata":{{"name":"db","namespace":"ns","uid":"s"}},"spec":{{"replicas":{replicas},"serviceName":"db",
            "selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},"spec":{{"containers":[]}}}},
            "volumeClaimTemplates":[{{"metadata":{{"name":"data"}},"spec":{{}}}}]{extra}}}}}"#
        ))
    }

    /// One pass; pods that are made run at once if `works` says so. Returns what was done.
    fn pass(
        set: &mut StatefulSet,
        pods: &mut Vec<Pod>,
        update: &str,
        works: impl Fn(i32) -> bool,
    ) -> Vec<String> {
        let current = set
            .status
            .as_ref()
            .and_then(|s| s.current_revision.clone())
            .unwrap_or_else(|| update.into());
        let plan = decide(set, pods, (&current, update), at("2026-01-01T00:00:00Z"));
        set.status = Some(plan.status);
        let mut done = Vec::new();
        for step in plan.steps {
            match step {
                Step::Create { ordinal, at_current } => {
                    let revision = if at_current { current.as_str() } else { update };
                    done.push(format!("+{ordinal}@{revision}"));
                    let mut new = identity::pod(set, ordinal, revision);
                    let ready = if works(ordinal) { "True" } else { "False" };
                    new.status = pod(&format!(
                        r#"{{"status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
                    ))
                    .status;
                    pods.push(new);
                }
                Step::Delete(gone) => {
                    done.push(format!("-{}", identity::ordinal(set, &gone).unwrap()));
                    pods.retain(|p| p.metadata.name != gone.metadata.name);
                }
            }
        }
        done
    }

    fn run(set: &mut StatefulSet, pods: &mut Vec<Pod>, update: &str) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..50 {
            let done = pass(set, pods, update, |_| true);
            if done.is_empty() {
                pass(set, pods, update, |_| true);
                return all;
            }
            all.push(done.join(" "));
        }
        panic!("it never settles");
    }

    #[test]
    fn pods_come_in_order_and_go_in_reverse() {
        let (mut s, mut pods) = (set(3, ""), Vec::new());
        assert_eq!(run(&mut s, &mut pods, "v1"), ["+0@v1", "+1@v1", "+2@v1"]);
        let first = pods[0].spec.as_ref().unwrap();
        assert_eq!(
            (first.hostname.as_deref(), first.subdomain.as_deref()),
            (Some("db-0"), Some("db"))
        );
        let claim = first.volumes.as_ref().unwrap()[0]
            .persistent_volume_claim
            .as_ref()
            .unwrap();
        assert_eq!(claim.claim_name, "data-db-0");
        assert_eq!(
            run(&mut s, &mut pods, "v2"),
            ["-2", "+2@v2", "-1", "+1@v2", "-0", "+0@v2"]
        );
        assert_eq!(s.status.as_ref().unwrap().current_revision.as_deref(), Some("v2"));
        s.spec.replicas = Some(1);
        assert_eq!(run(&mut s, &mut pods, "v2"), ["-2", "-1"]);
    }

    #[test]
    fn the_next_pod_waits_for_a_sick_one_unless_the_set_is_parallel() {
        let (mut s, mut pods) = (set(3, ""), Vec::new());
        assert_eq!(pass(&mut s, &mut pods, "v1", |_| false), ["+0@v1"]);
        assert!(pass(&mut s, &mut pods, "v1", |_| false).is_empty());
        let (mut s, mut pods) = (set(3, r#","podManagementPolicy":"Parallel""#), Vec::new());
        assert_eq!(
            pass(&mut s, &mut pods, "v1", |_| false),
            ["+0@v1", "+1@v1", "+2@v1"]
        );
    }

    #[test]
    fn below_the_partition_pods_keep_the_old_revision() {
        let rolling = r#","updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}"#;
        let (mut s, mut pods) = (set(3, rolling), Vec::new());
        run(&mut s, &mut pods, "v1");
        assert_eq!(run(&mut s, &mut pods, "v2"), ["-2", "+2@v2"]);
        pods.retain(|p| p.metadata.name.as_deref() != Some("db-0"));
        assert_eq!(
            run(&mut s, &mut pods, "v2"),
            ["+0@v1"],
            "a lost pod comes back as it was"
        );
        let status = s.status.as_ref().unwrap();
        assert_eq!(
            (status.current_replicas, status.updated_replicas),
            (Some(2), Some(1))
        );
    }
}
