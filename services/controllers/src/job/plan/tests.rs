//! Passes over a small world in which pods end as they are told.

use super::*;
use crate::testing::{at, object};

fn job(spec: &str) -> Job {
    object(&format!(
        r#"{{"metadata":{{"name":"j","namespace":"ns","uid":"j"}},"spec":{{"template":{{"spec":{{"restartPolicy":"Never",
        "containers":[{{"name":"c"}}]}}}},{spec}}}}}"#
    ))
}

struct World {
    job: Job,
    pods: Vec<Pod>,
    now: Timestamp,
    made: usize,
}

impl World {
    fn new(spec: &str) -> Self {
        Self {
            job: job(spec),
            pods: Vec::new(),
            now: at("2026-01-01T00:00:00Z"),
            made: 0,
        }
    }

    /// Passes until nothing changes; returns how many pods were made.
    fn settle(&mut self) -> usize {
        let before = self.made;
        for _ in 0..100 {
            let plan = decide(&self.job, &self.pods, self.now);
            let same = self.job.status.as_ref() == Some(&plan.status);
            if same && plan.release.is_empty() && plan.delete.is_empty() && plan.create.is_empty() {
                return self.made - before;
            }
            self.job.status = Some(plan.status);
            for p in &mut self.pods {
                if plan.release.iter().any(|r| r.uid() == p.uid()) {
                    p.metadata.finalizers = None;
                }
            }
            self.pods
                .retain(|p| !plan.delete.iter().any(|d| d.uid() == p.uid()));
            for mut p in plan.create {
                self.made += 1;
                p.metadata.uid = Some(format!("p{}", self.made));
                p.metadata.creation_timestamp = Some(Time(self.now));
                self.pods.push(p);
            }
        }
        panic!("it never settles");
    }

    /// All active pods end in a phase.
    fn end(&mut self, phase: &str) {
        for p in self.pods.iter_mut().filter(|p| pods::is_active(p)) {
            let with: Pod = object(&format!(
                r#"{{"status":{{"phase":"{phase}","containerStatuses":[{{"name":"c","image":"","imageID":"","ready":false,"restartCount":0,
                "state":{{"terminated":{{"exitCode":3,"finishedAt":"{}"}}}}}}]}}}}"#,
                self.now
            ));
            p.status = with.status;
        }
    }

    fn is(&self, kind: &str) -> Option<String> {
        let list = &self.job.status.as_ref().unwrap().conditions;
        conditions::find(list, kind)
            .filter(|c| c.status == "True")
            .and_then(|c| c.reason.clone())
    }
}

#[test]
fn every_end_is_counted_once() {
    let mut w = World::new(r#""completions":5,"parallelism":2"#);
    let mut made = 0;
    for _ in 0..3 {
        made += w.settle();
        assert!(w.pods.iter().filter(|p| pods::is_active(p)).count() <= 2);
        w.end("Succeeded");
    }
    w.settle();
    let status = w.job.status.clone().unwrap();
    assert_eq!(
        (made, status.succeeded, status.failed, status.active),
        (5, Some(5), None, None)
    );
    assert_eq!(w.is("Complete").as_deref(), Some("CompletionsReached"));
    assert!(
        w.pods.iter().all(|p| p.metadata.finalizers.is_none()),
        "nothing is held"
    );
    assert!(status.completion_time.is_some());
}

#[test]
fn failures_wait_longer_each_time_and_end_the_job() {
    let mut w = World::new(r#""backoffLimit":2"#);
    let mut pauses = Vec::new();
    w.settle();
    for _ in 0..2 {
        w.end("Failed");
        assert_eq!(w.settle(), 0, "not at once");
        let next = decide(&w.job, &w.pods, w.now).look_at.unwrap();
        pauses.push(next.duration_since(w.now).as_secs());
        w.now = next;
        assert_eq!(w.settle(), 1);
    }
    assert_eq!(pauses, [10, 20]);
    w.end("Failed");
    w.settle();
    assert_eq!(w.is("Failed").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!(w.job.status.as_ref().unwrap().failed, Some(3));
}

#[test]
fn an_indexed_job_runs_each_index_until_it_succeeds() {
    let mut w = World::new(r#""completions":3,"parallelism":3,"completionMode":"Indexed""#);
    assert_eq!(w.settle(), 3);
    let names: Vec<_> = w
        .pods
        .iter()
        .map(|p| p.name().rsplit_once('-').unwrap().0.to_string())
        .collect();
    assert_eq!(names, ["j-0", "j-1", "j-2"]);
    assert_eq!(
        w.pods[1].spec.as_ref().unwrap().containers[0]
            .env
            .as_ref()
            .unwrap()[0]
            .name,
        "JOB_COMPLETION_INDEX"
    );
    w.end("Succeeded");
    w.pods[1].status.as_mut().unwrap().phase = Some("Failed".into());
    w.settle();
    assert_eq!(
        w.job.status.as_ref().unwrap().completed_indexes.as_deref(),
        Some("0,2")
    );
    w.now = plus(w.now, 10);
    assert_eq!(w.settle(), 1, "index 1 again");
    w.end("Succeeded");
    w.settle();
    let status = w.job.status.as_ref().unwrap();
    assert_eq!(
        (
            status.completed_indexes.as_deref(),
            status.succeeded,
            status.failed
        ),
        (Some("0-2"), Some(3), Some(1))
    );
    assert!(w.is("Complete").is_some());
}

#[test]
fn a_policy_ignores_some_failures_and_fails_the_job_for_others() {
    let rules = |action: &str| {
        format!(
            r#""backoffLimit":0,"podFailurePolicy":{{"rules":[{{"action":"{action}","onExitCodes":{{"operator":"In","values":[3]}}}}]}}"#
        )
    };
    let mut w = World::new(&rules("Ignore"));
    w.settle();
    w.end("Failed");
    assert_eq!(w.settle(), 1, "it is replaced at once");
    assert_eq!(w.job.status.as_ref().unwrap().failed, None);
    let mut w = World::new(&rules("FailJob"));
    w.settle();
    w.end("Failed");
    w.settle();
    assert_eq!(w.is("Failed").as_deref(), Some("PodFailurePolicy"));
}

#[test]
fn a_suspended_job_has_no_pods_and_a_deadline_ends_one() {
    let mut w = World::new(r#""activeDeadlineSeconds":60"#);
    w.settle();
    w.job.spec.as_mut().unwrap().suspend = Some(true);
    w.settle();
    assert!(w.pods.is_empty() && w.is("Suspended").is_some());
    w.job.spec.as_mut().unwrap().suspend = Some(false);
    assert_eq!(w.settle(), 1);
    w.now = decide(&w.job, &w.pods, w.now)
        .look_at
        .expect("it looks at the deadline");
    w.settle();
    assert_eq!(w.is("Failed").as_deref(), Some("DeadlineExceeded"));
    assert!(w.pods.is_empty());
}
