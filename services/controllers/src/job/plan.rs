//! What one pass over a Job does.

use super::policy::{self, Action};
use super::{TRACKING, indexes, pod};
use crate::common::{Meta, Object, conditions, count, nz, plus, pods};
use crate::kinds::{Job, JobCondition, JobSpec, JobStatus, Pod, Time};
use jiff::Timestamp;
use runtime::EventType;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Pods counted, and pods made, in one pass at most.
const BURST: usize = 500;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: JobStatus,
    /// Counted: they lose the finalizer.
    pub(super) release: Vec<Pod>,
    /// Not wanted: they go, uncounted.
    pub(super) delete: Vec<Pod>,
    pub(super) create: Vec<Pod>,
    pub(super) events: Vec<(EventType, String, String)>,
    pub(super) look_at: Option<Timestamp>,
}

fn condition(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Whether a Job has ended, either way.
pub(crate) fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().map(|s| &s.conditions);
    conditions.is_some_and(|c| conditions::is_true(c, "Complete") || conditions::is_true(c, "Failed"))
}

/// When a pod's last container ended.
fn ended(p: &Pod) -> Timestamp {
    let statuses = p
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten());
    let ends = statuses
        .filter_map(|c| c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref())
        .map(|t| t.0);
    ends.max().unwrap_or_else(|| {
        p.metadata
            .deletion_timestamp
            .as_ref()
            .map_or_else(|| p.created(), |t| t.0)
    })
}

struct Sight<'a> {
    spec: &'a JobSpec,
    indexed: bool,
    completions: i32,
    active: Vec<&'a Pod>,
    terminating: usize,
    now: Timestamp,
}

pub(super) fn decide(job: &Job, all: &[Pod], now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let mut plan = Plan {
        status: job.status.clone().unwrap_or_default(),
        ..Plan::default()
    };
    if is_finished(job) || job.deleting() {
        let held = all.iter().filter(|p| p.has_finalizer(TRACKING));
        if is_finished(job) {
            plan.delete
                .extend(all.iter().filter(|p| pods::is_active(p)).cloned());
        }
        plan.release.extend(
            held.filter(|p| !plan.delete.iter().any(|d| d.uid() == p.uid()))
                .cloned(),
        );
        return plan;
    }
    let suspended = spec.suspend == Some(true);
    let status = &mut plan.status;
    if status.start_time.is_none() && !suspended {
        status.start_time = Some(Time(now));
    }
    let sight = Sight {
        indexed: spec.completion_mode.as_deref() == Some("Indexed"),
        completions: spec.completions.unwrap_or(1),
        active: all.iter().filter(|p| pods::is_active(p)).collect(),
        terminating: all
            .iter()
            .filter(|p| p.deleting() && !pods::is_finished(p))
            .count(),
        spec: &spec,
        now,
    };
    let (policy_failure, ignored) = account(job, all, &sight, &mut plan);
    let status = &mut plan.status;
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let waiting = |list: &Option<Vec<String>>| count(list.as_ref().map_or(0, Vec::len));
    let failed = status.failed.unwrap_or(0) + waiting(&uncounted.failed);
    let succeeded = status.succeeded.unwrap_or(0) + waiting(&uncounted.succeeded);

    let target = targeted(&status.conditions).or_else(|| {
        policy_failure
            .map(|message| ("FailureTarget", "PodFailurePolicy".to_string(), message))
            .or_else(|| ending(&sight, status, failed, succeeded, all))
    });
    status.active = nz(count(sight.active.len()));
    status.ready = Some(count(sight.active.iter().filter(|p| pods::is_ready(p)).count()));
    status.terminating = Some(count(sight.terminating));
    if let Some((kind, reason, message)) = target {
        let new = condition(kind, "True", &reason, message.clone(), now);
        conditions::set(&mut status.conditions, new);
        let settled = uncounted.failed.is_none() && uncounted.succeeded.is_none();
        plan.delete.extend(sight.active.iter().map(|p| (*p).clone()));
        if sight.active.is_empty() && sight.terminating == 0 && settled {
            let last = if kind == "FailureTarget" {
                "Failed"
            } else {
                "Complete"
            };
            conditions::set(
                &mut status.conditions,
                condition(last, "True", &reason, message.clone(), now),
            );
            if last == "Complete" {
                status.completion_time = Some(Time(now));
                plan.events
                    .push((EventType::Normal, "Completed".into(), "Job completed".into()));
            } else {
                plan.events.push((EventType::Warning, reason, message));
            }
        }
        return plan;
    }
    if suspend(suspended, &sight, &mut plan) {
        return plan;
    }
    scale(job, &sight, all, succeeded, &ignored, &mut plan);
    deadline(&sight, &mut plan);
    plan
}

/// A verdict that was written before.
fn targeted(all: &Option<Vec<JobCondition>>) -> Option<(&'static str, String, String)> {
    ["FailureTarget", "SuccessCriteriaMet"]
        .into_iter()
        .find_map(|kind| {
            let c = conditions::find(all, kind).filter(|c| c.status == "True")?;
            Some((
                kind,
                c.reason.clone().unwrap_or_default(),
                c.message.clone().unwrap_or_default(),
            ))
        })
}

/// Moves ended pods through the accounts. Returns why the failure policy fails the Job, and the pods it ignores.
fn account(job: &Job, all: &[Pod], sight: &Sight<'_>, plan: &mut Plan) -> (Option<String>, HashSet<String>) {
    let status = &mut plan.status;
    let by_uid: BTreeMap<&str, &Pod> = all.iter().map(|p| (p.uid(), p)).collect();
    let held = |uid: &str| by_uid.get(uid).is_some_and(|p| p.has_finalizer(TRACKING));
    let mut books = status.uncounted_terminated_pods.take().unwrap_or_default();
    let settle = |list: &mut Option<Vec<String>>, total: &mut Option<i32>| {
        let uids = list.take().unwrap_or_default();
        let (open, done): (Vec<_>, Vec<_>) = uids.into_iter().partition(|uid| held(uid));
        *total = nz(total.unwrap_or(0) + count(done.len()));
        *list = (!open.is_empty()).then_some(open);
    };
    settle(&mut books.succeeded, &mut status.succeeded);
    settle(&mut books.failed, &mut status.failed);
    let old_books = job
        .status
        .as_ref()
        .and_then(|s| s.uncounted_terminated_pods.clone())
        .unwrap_or_default();
    let written = |uid: &str| {
        [&old_books.succeeded, &old_books.failed]
            .into_iter()
            .flatten()
            .flatten()
            .any(|u| u == uid)
    };
    let old_done = indexes::parse(
        job.status.as_ref().and_then(|s| s.completed_indexes.as_deref()),
        sight.completions,
    );
    let mut done = old_done.clone();
    let mut gone = indexes::parse(status.failed_indexes.as_deref(), sight.completions);
    let only_failed = sight.spec.pod_replacement_policy.as_deref() == Some("Failed");
    let mut why = None;
    let mut ignored = HashSet::new();
    let mut noted = 0;
    for p in all.iter().filter(|p| p.has_finalizer(TRACKING)) {
        let phase = pods::phase(p);
        let lost = phase == "Failed" || (p.deleting() && phase != "Succeeded" && !only_failed);
        if phase == "Succeeded" && sight.indexed {
            match pod::index(p).filter(|i| (0..sight.completions).contains(i)) {
                Some(i) if !old_done.contains(&i) => {
                    done.insert(i);
                    continue;
                }
                _ => plan.release.push(p.clone()),
            }
        } else if phase == "Succeeded" || lost {
            if written(p.uid()) {
                plan.release.push(p.clone());
                continue;
            }
            let action = if lost { policy::of(job, p) } else { Action::Count };
            match action {
                Action::FailJob(message) => why = why.or(Some(message)),
                Action::Ignore => {
                    ignored.insert(p.uid().to_string());
                    plan.release.push(p.clone());
                    continue;
                }
                Action::FailIndex => gone.extend(pod::index(p)),
                Action::Count => {
                    let limit = sight
                        .spec
                        .backoff_limit_per_index
                        .filter(|_| sight.indexed && lost);
                    if limit.is_some_and(|limit| pod::failures(p) >= limit) {
                        gone.extend(pod::index(p));
                    }
                }
            }
            if noted < BURST {
                noted += 1;
                let list = if lost {
                    &mut books.failed
                } else {
                    &mut books.succeeded
                };
                list.get_or_insert_default().push(p.uid().into());
            }
        }
    }
    if sight.indexed {
        status.completed_indexes = indexes::format(&done);
        status.succeeded = nz(count(done.len()));
        gone.retain(|i| !done.contains(i));
        if sight.spec.backoff_limit_per_index.is_some() {
            status.failed_indexes = Some(indexes::format(&gone).unwrap_or_default());
        }
    }
    let empty = books.failed.is_none() && books.succeeded.is_none();
    // The server keeps an empty object where there is nothing to count.
    status.uncounted_terminated_pods = match (
        &job.status
            .as_ref()
            .and_then(|s| s.uncounted_terminated_pods.clone()),
        empty,
    ) {
        (None, true) => None,
        _ => Some(books),
    };
    (why, ignored)
}

/// Whether the Job has come to an end, and which.
fn ending(
    sight: &Sight<'_>,
    status: &JobStatus,
    failed: i32,
    succeeded: i32,
    all: &[Pod],
) -> Option<(&'static str, String, String)> {
    let spec = sight.spec;
    let fail = |reason: &str, message: &str| Some(("FailureTarget", reason.to_string(), message.to_string()));
    let limit = spec.backoff_limit.unwrap_or(6);
    let on_failure = spec
        .template
        .spec
        .as_ref()
        .and_then(|s| s.restart_policy.as_deref())
        == Some("OnFailure");
    let restarts = |p: &&Pod| {
        let statuses = p
            .status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten());
        statuses.map(|c| c.restart_count).sum::<i32>()
    };
    let restarted: i32 = if on_failure {
        all.iter()
            .filter(|p| pods::is_active(p))
            .map(|p| restarts(&p))
            .sum()
    } else {
        0
    };
    if failed > limit || (on_failure && restarted > 0 && restarted >= limit) {
        return fail(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        );
    }
    let since = status.start_time.as_ref().filter(|_| spec.suspend != Some(true));
    if let (Some(seconds), Some(since)) = (spec.active_deadline_seconds, since)
        && plus(since.0, seconds) <= sight.now
    {
        return fail(
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        );
    }
    let mut complete = match spec.completions {
        None => succeeded > 0 && sight.active.is_empty(),
        Some(n) => succeeded >= n,
    };
    if sight.indexed && spec.backoff_limit_per_index.is_some() {
        let gone = indexes::parse(status.failed_indexes.as_deref(), sight.completions);
        if spec
            .max_failed_indexes
            .is_some_and(|most| count(gone.len()) > most)
        {
            let text = "Job has exceeded the specified maximal number of failed indexes";
            return fail("MaxFailedIndexesExceeded", text);
        }
        if !gone.is_empty() && succeeded + count(gone.len()) >= sight.completions {
            return fail("FailedIndexes", "Job has failed indexes");
        }
    }
    if sight.indexed
        && let Some(policy) = &spec.success_policy
    {
        let done = indexes::parse(status.completed_indexes.as_deref(), sight.completions);
        for (at, rule) in policy.rules.iter().enumerate() {
            let wanted = rule
                .succeeded_indexes
                .as_deref()
                .map(|t| indexes::parse(Some(t), sight.completions));
            let hits = wanted
                .as_ref()
                .map_or(done.len(), |w| w.intersection(&done).count());
            let enough = rule.succeeded_count.map_or_else(
                || wanted.as_ref().map_or(usize::MAX, BTreeSet::len),
                |n| usize::try_from(n).unwrap_or(0),
            );
            if hits >= enough {
                let text = format!("Matched rules at index {at}");
                return Some(("SuccessCriteriaMet", "SuccessPolicy".into(), text));
            }
        }
    }
    complete &= spec.suspend != Some(true) || succeeded > 0;
    complete.then(|| {
        let text = "Reached expected number of succeeded pods".to_string();
        ("SuccessCriteriaMet", "CompletionsReached".to_string(), text)
    })
}

/// Suspending and resuming. Whether the Job is suspended.
fn suspend(suspended: bool, sight: &Sight<'_>, plan: &mut Plan) -> bool {
    let status = &mut plan.status;
    let was = conditions::is_true(&status.conditions, "Suspended");
    if suspended {
        plan.delete.extend(sight.active.iter().map(|p| (*p).clone()));
        if !was {
            let new = condition(
                "Suspended",
                "True",
                "JobSuspended",
                "Job suspended".into(),
                sight.now,
            );
            conditions::set(&mut status.conditions, new);
            plan.events
                .push((EventType::Normal, "Suspended".into(), "Job suspended".into()));
        }
        status.active = None;
        status.start_time = None;
    } else if was {
        let new = condition(
            "Suspended",
            "False",
            "JobResumed",
            "Job resumed".into(),
            sight.now,
        );
        conditions::set(&mut status.conditions, new);
        status.start_time = Some(Time(sight.now));
        plan.events
            .push((EventType::Normal, "Resumed".into(), "Job resumed".into()));
    }
    suspended
}

/// More pods, or fewer.
fn scale(
    job: &Job,
    sight: &Sight<'_>,
    all: &[Pod],
    succeeded: i32,
    ignored: &HashSet<String>,
    plan: &mut Plan,
) {
    let spec = sight.spec;
    let active = count(sight.active.len());
    let parallel = spec.parallelism.unwrap_or(1);
    let gone = indexes::parse(plan.status.failed_indexes.as_deref(), sight.completions);
    let mut wanted = match spec.completions {
        None if succeeded > 0 => active.min(parallel),
        None => parallel,
        Some(n) => parallel.min(n - succeeded - count(gone.len())).max(0),
    };
    if spec.pod_replacement_policy.as_deref() == Some("Failed") {
        wanted = (wanted - count(sight.terminating)).max(0);
    }
    if active > wanted {
        let mut surplus = sight.active.clone();
        surplus.sort_by(|a, b| pods::deletion_order(a, b, |_| 1, sight.now));
        let most = usize::try_from(active - wanted).unwrap_or(0);
        plan.delete.extend(surplus.into_iter().take(most).cloned());
        return;
    }
    let missing = usize::try_from(wanted - active).unwrap_or(0).min(BURST);
    if missing == 0 {
        return;
    }
    // After failures in a row new pods wait 10 s, 20 s and so on to ten minutes.
    let mut finished: Vec<&Pod> = all
        .iter()
        .filter(|p| pods::is_finished(p) && !ignored.contains(p.uid()))
        .collect();
    finished.sort_by_key(|p| (Reverse(ended(p)), pods::phase(p) != "Failed"));
    let in_a_row = finished.iter().take_while(|p| pods::phase(p) == "Failed").count();
    if let Some(last) = finished.first().filter(|_| in_a_row > 0) {
        let pause = 10i64
            .checked_shl(u32::try_from(in_a_row - 1).unwrap_or(6).min(6))
            .unwrap_or(600)
            .min(600);
        let at = plus(ended(last), pause);
        if at > sight.now {
            plan.look_at = Some(at);
            return;
        }
    }
    if !sight.indexed {
        plan.create.extend((0..missing).map(|_| pod::make(job, None)));
        return;
    }
    let done = indexes::parse(plan.status.completed_indexes.as_deref(), sight.completions);
    let waits = |p: &&Pod| p.deleting() && spec.pod_replacement_policy.as_deref() == Some("Failed");
    let busy: HashSet<i32> = all
        .iter()
        .filter(|p| pods::is_active(p) || waits(p))
        .filter_map(pod::index)
        .collect();
    let free = (0..sight.completions).filter(|i| !done.contains(i) && !gone.contains(i) && !busy.contains(i));
    for i in free.take(missing) {
        let before = all
            .iter()
            .filter(|p| pod::index(p) == Some(i) && pods::phase(p) == "Failed");
        let before = before
            .filter(|p| !ignored.contains(p.uid()))
            .map(|p| pod::failures(p) + 1)
            .max()
            .unwrap_or(0);
        let told = spec.backoff_limit_per_index.map(|_| before);
        plan.create.push(pod::make(job, Some((i, told))));
    }
}

/// When the deadline comes.
fn deadline(sight: &Sight<'_>, plan: &mut Plan) {
    if let (Some(seconds), Some(since)) = (sight.spec.active_deadline_seconds, &plan.status.start_time) {
        let at = plus(since.0, seconds);
        plan.look_at = Some(plan.look_at.map_or(at, |t| t.min(at)));
    }
}

#[cfg(test)]
mod tests;
