//! Which Job to start, which to forget, and when to look again.

use super::schedule::Schedule;
use crate::common::claim::controller_ref;
use crate::common::{Meta, Object, conditions};
use crate::job::is_finished;
use crate::kinds::{CronJob, CronJobStatus, Job, ObjectMeta, ObjectReference, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use runtime::EventType;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed times that are counted at most.
const MISSED: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: CronJobStatus,
    pub(super) create: Option<Box<Job>>,
    /// History over the limits.
    pub(super) delete: Vec<Job>,
    /// Running Jobs that the new one replaces.
    pub(super) replace: Vec<Job>,
    pub(super) events: Vec<(EventType, &'static str, String)>,
    pub(super) look_at: Option<Timestamp>,
}

impl Plan {
    /// Notes a Job that was started.
    pub(super) fn started(&mut self, job: &Job) {
        self.status.active.get_or_insert_default().push(reference(job));
    }
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        name: job.metadata.name.clone(),
        namespace: job.metadata.namespace.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

fn succeeded(job: &Job) -> bool {
    job.status
        .as_ref()
        .is_some_and(|s| conditions::is_true(&s.conditions, "Complete"))
}

pub(super) fn decide(cron: &CronJob, jobs: &[Job], now: Timestamp) -> Plan {
    let spec = &cron.spec;
    let mut plan = Plan {
        status: cron.status.clone().unwrap_or_default(),
        ..Plan::default()
    };
    tidy(cron, jobs, &mut plan);
    let (mut active, finished): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|j| !is_finished(j));
    for job in &finished {
        let was_active = plan
            .status
            .active
            .iter()
            .flatten()
            .any(|a| a.uid.as_deref() == Some(job.uid()));
        if was_active {
            let how = if succeeded(job) { "Complete" } else { "Failed" };
            let text = format!("Saw completed job: {}, condition: {how}", job.name());
            plan.events.push((EventType::Normal, "SawCompletedJob", text));
        }
        let end = job
            .status
            .as_ref()
            .and_then(|s| s.completion_time.clone())
            .filter(|_| succeeded(job));
        if end > plan.status.last_successful_time {
            plan.status.last_successful_time = end;
        }
    }
    active.sort_by_key(|j| (j.created(), j.name().to_string()));
    let known = plan.status.active.take().unwrap_or_default();
    let list: Vec<ObjectReference> = active
        .iter()
        .map(|j| {
            known
                .iter()
                .find(|k| k.uid.as_deref() == Some(j.uid()))
                .cloned()
                .unwrap_or_else(|| reference(j))
        })
        .collect();
    plan.status.active = (!list.is_empty()).then_some(list);
    if cron.deleting() || spec.suspend == Some(true) {
        return plan;
    }
    let zone = match spec.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => match TimeZone::get(name) {
            Ok(zone) => zone,
            Err(e) => {
                let text = format!("invalid timeZone: {name:?}: {e}");
                plan.events.push((EventType::Warning, "UnknownTimeZone", text));
                return plan;
            }
        },
    };
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(e) => {
            let text = format!("unparseable schedule: {:?} : {e}", spec.schedule);
            plan.events
                .push((EventType::Warning, "UnparseableSchedule", text));
            return plan;
        }
    };
    let mut from = plan
        .status
        .last_schedule_time
        .as_ref()
        .map_or_else(|| cron.created(), |t| t.0);
    let patience = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    if let Some(earliest) = patience.and_then(|p| now.checked_sub(p).ok()) {
        from = from.max(earliest);
    }
    plan.look_at = schedule.next(now, &zone);
    let (due, missed) = due(&schedule, &zone, from, now);
    let Some(due) = due else { return plan };
    if missed > MISSED {
        let text =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.events
            .push((EventType::Warning, "TooManyMissedTimes", text.into()));
    }
    if patience.is_some_and(|p| due.checked_add(p).is_ok_and(|end| end < now)) {
        let text = format!(
            "Missed scheduled time to start a job: {}",
            base::clock::rfc3339(due)
        );
        plan.events.push((EventType::Warning, "MissSchedule", text));
        return plan;
    }
    let job = make(cron, due, &zone);
    if jobs.iter().any(|j| j.name() == job.name()) {
        plan.status.last_schedule_time = Some(Time(due));
        return plan;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events
                .push((EventType::Normal, "JobAlreadyActive", text.into()));
            return plan;
        }
        Some("Replace") => {
            plan.replace = active.into_iter().cloned().collect();
            plan.status.active = None;
        }
        _ => {}
    }
    plan.create = Some(Box::new(job));
    plan.status.last_schedule_time = Some(Time(due));
    plan
}

/// The latest time that has come, and how many there were.
fn due(schedule: &Schedule, zone: &TimeZone, from: Timestamp, now: Timestamp) -> (Option<Timestamp>, usize) {
    if let Schedule::Every(every) = schedule {
        let passed = now.duration_since(from).as_secs().max(0) / every.as_secs().max(1);
        let steps = SignedDuration::from_secs(passed * every.as_secs());
        let at = Timestamp::from_second(from.as_second())
            .ok()
            .and_then(|t| t.checked_add(steps).ok());
        return (
            at.filter(|_| passed > 0),
            usize::try_from(passed).unwrap_or(usize::MAX),
        );
    }
    let Some(first) = schedule.next(from, zone).filter(|t| *t <= now) else {
        return (None, 0);
    };
    // After a long pause the distance of the first two tells roughly where the last is; walking from the beginning
    // could take a million steps.
    let (mut last, mut count) = (first, 1);
    let mut reach = SignedDuration::from_hours(1);
    loop {
        let from = now.checked_sub(reach).unwrap_or(first).max(first);
        let mut cursor = if from == first { first } else { from };
        let mut found = from == first;
        while let Some(next) = schedule.next(cursor, zone).filter(|t| *t <= now) {
            (last, found, cursor) = (next, true, next);
            count += 1;
            if count > 100_000 {
                break;
            }
        }
        if found {
            return (Some(last), count);
        }
        reach = reach.saturating_mul(24);
    }
}

/// The Job of a scheduled time.
fn make(cron: &CronJob, at: Timestamp, zone: &TimeZone) -> Job {
    let template = &cron.spec.job_template;
    let meta = template.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let local = at.to_zoned(zone.clone());
    annotations.insert(
        SCHEDULED_AT.into(),
        local
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string()
            .replace("+00:00", "Z"),
    );
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", cron.name(), at.as_second() / 60)),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Finished Jobs over the limits, oldest first.
fn tidy(cron: &CronJob, jobs: &[Job], plan: &mut Plan) {
    let limit = |n: Option<i32>, default: usize| n.map_or(default, |n| usize::try_from(n).unwrap_or(0));
    for (good, limit) in [
        (true, limit(cron.spec.successful_jobs_history_limit, 3)),
        (false, limit(cron.spec.failed_jobs_history_limit, 1)),
    ] {
        let mut all: Vec<&Job> = jobs
            .iter()
            .filter(|j| is_finished(j) && succeeded(j) == good && !j.deleting())
            .collect();
        all.sort_by_key(|j| {
            (
                j.status.as_ref().and_then(|s| s.start_time.clone()),
                j.name().to_string(),
            )
        });
        plan.delete.extend(
            all.iter()
                .take(all.len().saturating_sub(limit))
                .map(|j| (*j).clone()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, object};

    fn cron(extra: &str) -> CronJob {
        object(&format!(
            r#"{{"metadata":{{"name":"c","namespace":"ns","uid":"c","creationTimestamp":"2026-01-01T00:00:30Z"}},
            "spec":{{"schedule":"*/10 * * * *","jobTemplate":{{"spec":{{"template":{{}}}}}}{extra}}}}}"#
        ))
    }

    fn job(name: &str, condition: &str) -> Job {
        object(&format!(
            r#"{{"metadata":{{"name":"{name}","uid":"{name}"}},"status":{{"startTime":"2026-01-01T00:00:00Z",
            "completionTime":"2026-01-01T00:05:00Z","conditions":[{{"type":"{condition}","status":"True"}}]}}}}"#
        ))
    }

    #[test]
    fn a_job_starts_when_its_time_has_come_and_only_once() {
        let early = decide(&cron(""), &[], at("2026-01-01T00:09:59Z"));
        assert!(early.create.is_none());
        assert_eq!(early.look_at, Some(at("2026-01-01T00:10:00Z")));
        let plan = decide(&cron(""), &[], at("2026-01-01T00:10:00Z"));
        let made = plan.create.unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("c-29453770"));
        assert_eq!(made.annotation(SCHEDULED_AT), Some("2026-01-01T00:10:00Z"));
        let again = decide(&cron(""), &[*made], at("2026-01-01T00:10:01Z"));
        assert!(again.create.is_none());
        assert_eq!(
            again.status.last_schedule_time,
            Some(Time(at("2026-01-01T00:10:00Z")))
        );
    }

    #[test]
    fn after_a_long_pause_only_the_latest_time_counts() {
        let plan = decide(&cron(""), &[], at("2026-03-01T12:34:00Z"));
        assert_eq!(
            plan.status.last_schedule_time,
            Some(Time(at("2026-03-01T12:30:00Z")))
        );
        let strict = decide(
            &cron(r#","startingDeadlineSeconds":60"#),
            &[],
            at("2026-03-01T12:34:00Z"),
        );
        assert!(strict.create.is_none());
    }

    #[test]
    fn a_running_job_forbids_or_is_replaced() {
        let now = at("2026-01-01T00:10:00Z");
        let running = [job("old", "Suspended")];
        let forbid = decide(&cron(r#","concurrencyPolicy":"Forbid""#), &running, now);
        assert!(forbid.create.is_none() && forbid.status.active.unwrap().len() == 1);
        let replace = decide(&cron(r#","concurrencyPolicy":"Replace""#), &running, now);
        assert_eq!((replace.create.is_some(), replace.replace.len()), (true, 1));
        assert!(
            decide(&cron(r#","suspend":true"#), &running, now)
                .create
                .is_none()
        );
    }

    #[test]
    fn history_is_kept_within_limits() {
        let jobs: Vec<Job> = (0..5)
            .map(|i| job(&format!("g{i}"), "Complete"))
            .chain([job("f0", "Failed"), job("f1", "Failed")])
            .collect();
        let plan = decide(&cron(""), &jobs, at("2026-01-01T00:05:00Z"));
        let gone: Vec<_> = plan.delete.iter().map(Object::name).collect();
        assert_eq!(gone, ["g0", "g1", "f0"]);
        assert_eq!(
            plan.status.last_successful_time,
            Some(Time(at("2026-01-01T00:05:00Z")))
        );
    }
}
