//! A small world: ReplicaSets become what their spec says, some pods at a time, and passes repeat until nothing changes.

use super::super::view::{available, fenceposts};
use super::*;
use crate::testing::{at, object};

fn deployment(image: &str, replicas: i32, extra: &str) -> Deployment {
    object(&format!(
        r#"{{"metadata":{{"name":"web","namespace":"ns","uid":"d","generation":1}},
        "spec":{{"replicas":{replicas},"progressDeadlineSeconds":600,"selector":{{"matchLabels":{{"app":"web"}}}},
        "template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}{extra}}}}}"#
    ))
}

struct World {
    d: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
    /// Pods of this image never become available.
    broken: &'static str,
}

impl World {
    fn new(d: Deployment) -> Self {
        Self {
            d,
            sets: Vec::new(),
            now: at("2026-01-01T00:00:00Z"),
            broken: "",
        }
    }

    fn image(set: &ReplicaSet) -> String {
        let spec = set.spec.template.as_ref().and_then(|t| t.spec.as_ref()).unwrap();
        spec.containers[0].image.clone().unwrap()
    }

    /// One pass and its effects. Whether anything changed.
    fn pass(&mut self) -> bool {
        let old_run = self
            .sets
            .iter()
            .any(|s| !is_new(&self.d, s) && s.status.as_ref().is_some_and(|s| s.replicas > 0));
        let plan = decide(&self.d, &self.sets, old_run, self.now);
        let changed = !plan.steps.is_empty() || plan.status.is_some();
        for step in plan.steps {
            match step {
                Step::Create(mut set) => {
                    set.metadata.uid = Some(format!("rs{}", self.now));
                    self.now = plus_second(self.now);
                    set.metadata.creation_timestamp = Some(crate::kinds::Time(self.now));
                    self.sets.push(*set);
                }
                Step::Update { set, .. } => {
                    let found = self.sets.iter_mut().find(|s| s.uid() == set.uid()).unwrap();
                    *found = *set;
                }
                Step::Revision(d) => self.d.metadata.annotations = d.metadata.annotations.clone(),
                Step::Delete(set) => self.sets.retain(|s| s.uid() != set.uid()),
            }
        }
        if let Some(status) = plan.status {
            self.d.status = Some(status);
        }
        changed
    }

    /// One pod of each ReplicaSet moves towards its spec. Whether anything changed.
    fn pods(&mut self) -> bool {
        let mut changed = false;
        for set in &mut self.sets {
            let (want, works) = (replicas(set), Self::image(set) != self.broken);
            let status = set.status.get_or_insert_default();
            let before = status.clone();
            status.replicas = want;
            let up = status.available_replicas.unwrap_or(0).min(want);
            let up = if works && up < want { up + 1 } else { up };
            status.available_replicas = crate::common::nz(up);
            status.ready_replicas = status.available_replicas;
            status.observed_generation = Some(set.metadata.generation.unwrap_or(0));
            changed |= *status != before;
        }
        changed
    }

    fn settle(&mut self) {
        let mut steady = false;
        for _ in 0..500 {
            let moved = self.pass();
            let up: i32 = self.sets.iter().map(available).sum();
            let total: i32 = self.sets.iter().map(replicas).sum();
            if steady && !is_recreate(&self.d) {
                let (surge, missing) = fenceposts(&self.d);
                assert!(total <= wanted(&self.d) + surge, "{total} pods are too many");
                assert!(up >= wanted(&self.d) - missing, "{up} available pods are too few");
            }
            let grew = self.pods();
            if !moved && !grew {
                return;
            }
            // Once the first rollout is complete, the bounds hold through the next.
            steady |= self
                .d
                .status
                .as_ref()
                .is_some_and(|s| status::is_complete(&self.d, s));
        }
        panic!("it never settles");
    }

    fn reason(&self) -> String {
        let conditions = &self.d.status.as_ref().unwrap().conditions;
        crate::common::conditions::find(conditions, "Progressing")
            .unwrap()
            .reason
            .clone()
            .unwrap()
    }
}

fn plus_second(t: Timestamp) -> Timestamp {
    crate::common::plus(t, 1)
}

fn change(w: &mut World, image: &str) {
    let mut spec = deployment(image, wanted(&w.d), "").spec;
    spec.strategy = w.d.spec.strategy.clone();
    spec.revision_history_limit = w.d.spec.revision_history_limit;
    w.d.spec = spec;
}

#[test]
fn a_rolling_update_stays_within_its_bounds_and_ends() {
    for strategy in [
        "",
        r#","strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":0,"maxUnavailable":1}}"#,
        r#","strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":"100%","maxUnavailable":0}}"#,
        r#","strategy":{"type":"Recreate"}"#,
    ] {
        let mut w = World::new(deployment("v1", 10, strategy));
        w.settle();
        assert_eq!(
            (w.sets.len(), w.reason().as_str()),
            (1, "NewReplicaSetAvailable"),
            "{strategy}"
        );
        change(&mut w, "v2");
        w.settle();
        let sizes: Vec<_> = w
            .sets
            .iter()
            .map(|s| (World::image(s), replicas(s), super::revision(s)))
            .collect();
        assert_eq!(sizes, [("v1".into(), 0, 1), ("v2".into(), 10, 2)], "{strategy}");
        assert_eq!(w.reason(), "NewReplicaSetAvailable");
        // Back again: the first ReplicaSet is used anew and gets the next revision.
        change(&mut w, "v1");
        w.settle();
        let sizes: Vec<_> = w.sets.iter().map(|s| (replicas(s), super::revision(s))).collect();
        assert_eq!(sizes, [(10, 3), (0, 2)], "{strategy}");
        assert_eq!(w.sets[0].annotation(REVISION_HISTORY), Some("1"));
        assert_eq!(w.d.annotation(REVISION), Some("3"));
    }
}

#[test]
fn a_broken_version_stops_early_and_is_called_failed_after_the_deadline() {
    let mut w = World::new(deployment("v1", 4, ""));
    w.settle();
    change(&mut w, "v2");
    w.broken = "v2";
    w.settle();
    let sizes: Vec<_> = w.sets.iter().map(replicas).collect();
    assert_eq!(sizes, [3, 2], "one may be missing and one too many");
    let plan = decide(&w.d, &w.sets, true, w.now);
    w.now = plan.look_at.expect("it looks again when the deadline is over");
    w.settle();
    assert_eq!(w.reason(), "ProgressDeadlineExceeded");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_proportional() {
    let mut w = World::new(deployment("v1", 10, ""));
    w.settle();
    change(&mut w, "v2");
    w.broken = "v2";
    w.settle();
    let before: Vec<_> = w.sets.iter().map(replicas).collect();
    assert_eq!(before, [8, 5]);
    w.d.spec.replicas = Some(20);
    w.pass();
    let after: Vec<_> = w.sets.iter().map(replicas).collect();
    assert_eq!(after, [15, 10], "25 pods, in the ratio of 8 to 5");
}

#[test]
fn history_over_the_limit_goes_oldest_first() {
    let mut w = World::new(deployment("v1", 1, r#","revisionHistoryLimit":1"#));
    for image in ["v1", "v2", "v3", "v4"] {
        change(&mut w, image);
        w.settle();
    }
    let left: Vec<_> = w.sets.iter().map(World::image).collect();
    assert_eq!(left, ["v3", "v4"]);
}
