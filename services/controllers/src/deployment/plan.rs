//! What one pass over a Deployment does.

use super::rollout::{self, Size};
use super::status::{self, limits};
use super::view::{
    DESIRED, HASH, MAX, OWN, REVISION, REVISION_HISTORY, by_age, is_paused, is_recreate, replicas, revision,
    wanted,
};
use crate::common::claim::controller_ref;
use crate::common::{Meta, Object, hash};
use crate::kinds::{Deployment, DeploymentStatus, ObjectMeta, PodTemplateSpec, ReplicaSet, ReplicaSetSpec};
use jiff::Timestamp;

/// One write.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// The ReplicaSet of the present template.
    Create(Box<ReplicaSet>),
    /// Another size, or other annotations.
    Update { set: Box<ReplicaSet>, from: i32 },
    /// The Deployment's own revision annotation.
    Revision(Box<Deployment>),
    /// History that is over the limit.
    Delete(Box<ReplicaSet>),
}

/// What to do, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The status, if it changed.
    pub(super) status: Option<DeploymentStatus>,
    /// When to look again.
    pub(super) look_at: Option<Timestamp>,
}

fn template(d: &Deployment) -> PodTemplateSpec {
    d.spec.template.clone()
}

/// Whether a ReplicaSet has the Deployment's present template (its hash label aside).
pub(super) fn is_new(d: &Deployment, set: &ReplicaSet) -> bool {
    let mut own = set.spec.template.clone().unwrap_or_default();
    let mut wish = template(d);
    for t in [&mut own, &mut wish] {
        let meta = t.metadata.get_or_insert_default();
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH);
        }
        meta.labels = meta.labels.take().filter(|l| !l.is_empty());
        meta.creation_timestamp = None;
    }
    own == wish
}

/// Decides. `old_pods_run`: some pod of an old ReplicaSet has not ended.
pub(super) fn decide(d: &Deployment, sets: &[ReplicaSet], old_pods_run: bool, now: Timestamp) -> Plan {
    // The oldest of several with the present template is the new one, as upstream has it.
    let mut same: Vec<&ReplicaSet> = sets.iter().filter(|s| is_new(d, s)).collect();
    same.sort_by(|a, b| by_age(a, b));
    let new = same.first().copied();
    let old: Vec<&ReplicaSet> = sets
        .iter()
        .filter(|s| new.is_none_or(|n| n.uid() != s.uid()))
        .collect();
    let mut plan = Plan::default();

    if d.deleting() {
        return plan.with_status(d, status::rollout(d, new, sets, now));
    }
    if is_paused(d) || was_scaled(d, sets) {
        plan.resize(d, sets, rollout::proportional(d, new, &old));
        if is_paused(d) {
            plan.clean(d, &old);
        }
        let mut next = status::counts(d, new, sets, now);
        status::pausing(d, &mut next, now);
        return plan.with_status(d, next);
    }

    // Recreate waits for the old pods' end before there is anything new.
    if is_recreate(d) {
        let sizes = rollout::drain(&old);
        if !sizes.is_empty() || (old_pods_run && new.is_none_or(|n| replicas(n) == 0)) {
            plan.resize(d, sets, sizes);
            let mut next = status::rollout(d, new, sets, now);
            status::pausing(d, &mut next, now);
            return plan.with_status(d, next);
        }
    }

    let number = old.iter().map(|s| revision(s)).max().unwrap_or(0) + 1;
    let Some(new) = new else {
        let set = make(d, &old, number);
        let name = set.name().to_string();
        plan.revise(d, number);
        plan.steps.insert(0, Step::Create(Box::new(set)));
        let mut next = status::rollout(d, None, sets, now);
        status::made(d, &mut next, &name, false, now);
        return plan.with_status(d, next);
    };
    let number = revision(new).max(number);
    if let Some(set) = annotated(d, new, number) {
        plan.steps.push(Step::Update {
            from: replicas(new),
            set: Box::new(set),
        });
        return plan.with_status(d, status::rollout(d, Some(new), sets, now));
    }
    plan.revise(d, number);

    let sizes = if is_recreate(d) {
        let to = wanted(d);
        (replicas(new) != to)
            .then(|| (new.name().to_string(), to))
            .into_iter()
            .collect()
    } else {
        rollout::rolling(d, new, &old)
    };
    let settled = sizes.is_empty();
    plan.resize(d, sets, sizes);
    let mut next = status::rollout(d, Some(new), sets, now);
    status::pausing(d, &mut next, now);
    status::made(d, &mut next, new.name(), true, now);
    if settled && status::is_complete(d, &next) {
        plan.clean(d, &old);
    }
    plan.with_status(d, next)
}

/// Whether the Deployment's size differs from what its active ReplicaSets were told.
fn was_scaled(d: &Deployment, sets: &[ReplicaSet]) -> bool {
    let told = |s: &ReplicaSet| s.annotation(DESIRED).and_then(|n| n.parse::<i32>().ok());
    sets.iter()
        .filter(|s| replicas(s) > 0)
        .filter_map(told)
        .any(|n| n != wanted(d))
}

impl Plan {
    fn with_status(mut self, d: &Deployment, next: DeploymentStatus) -> Self {
        self.look_at = status::look_at(d, &next);
        if d.status.as_ref() != Some(&next) {
            self.status = Some(next);
        }
        self
    }

    fn resize(&mut self, d: &Deployment, sets: &[ReplicaSet], sizes: Vec<Size>) {
        let (desired, max) = limits(d);
        for (name, to) in sizes {
            let Some(set) = sets.iter().find(|s| s.name() == name) else {
                continue;
            };
            let stale = set.annotation(DESIRED) != Some(&desired) || set.annotation(MAX) != Some(&max);
            let from = replicas(set);
            if from == to && !stale {
                continue;
            }
            let mut set = set.clone();
            set.spec.replicas = Some(to);
            let annotations = set.metadata.annotations.get_or_insert_default();
            annotations.insert(DESIRED.into(), desired.clone());
            annotations.insert(MAX.into(), max.clone());
            self.steps.push(Step::Update {
                set: Box::new(set),
                from,
            });
        }
    }

    fn revise(&mut self, d: &Deployment, number: i64) {
        if d.annotation(REVISION) != Some(&number.to_string()) {
            let mut new = d.clone();
            new.metadata
                .annotations
                .get_or_insert_default()
                .insert(REVISION.into(), number.to_string());
            self.steps.push(Step::Revision(Box::new(new)));
        }
    }

    /// Deletes ReplicaSets without pods that are over the history limit, oldest revisions first.
    fn clean(&mut self, d: &Deployment, old: &[&ReplicaSet]) {
        let limit = d.spec.revision_history_limit.unwrap_or(10);
        let Ok(limit) = usize::try_from(limit) else { return };
        let mut history: Vec<&ReplicaSet> = old.iter().copied().filter(|s| !s.deleting()).collect();
        if history.len() <= limit {
            return;
        }
        history.sort_by(|a, b| revision(a).cmp(&revision(b)).then_with(|| by_age(a, b)));
        let surplus = history.len() - limit;
        let empty = |s: &&&ReplicaSet| {
            let status = s.status.as_ref();
            replicas(s) == 0
                && status.is_none_or(|st| st.replicas == 0)
                && status.and_then(|st| st.observed_generation).unwrap_or(0) >= s.generation()
        };
        let gone = history[..surplus].iter().filter(empty);
        self.steps
            .extend(gone.map(|s| Step::Delete(Box::new((*s).clone()))));
    }
}

/// The ReplicaSet of the present template.
fn make(d: &Deployment, old: &[&ReplicaSet], number: i64) -> ReplicaSet {
    let mut template = template(d);
    let collisions = d.status.as_ref().and_then(|s| s.collision_count);
    let probe = ReplicaSet {
        spec: ReplicaSetSpec {
            template: Some(template.clone()),
            ..ReplicaSetSpec::default()
        },
        ..ReplicaSet::default()
    };
    let hash = hash::template(&probe.encode_json(), collisions);
    template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default()
        .insert(HASH.into(), hash.clone());
    let mut selector = d.spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH.into(), hash.clone());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", d.name())),
            namespace: d.metadata.namespace.clone(),
            labels: template.metadata.as_ref().and_then(|m| m.labels.clone()),
            owner_references: Some(vec![controller_ref(d)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            min_ready_seconds: d.spec.min_ready_seconds,
            selector,
            template: Some(template),
            replicas: Some(0),
        },
        status: None,
    };
    let total: i32 = old.iter().map(|s| replicas(s)).sum();
    set.spec.replicas = Some(rollout::new_size(d, total, 0));
    annotated(d, &set, number).unwrap_or(set)
}

/// The ReplicaSet with the annotations and `minReadySeconds` it should have; `None` if it has them.
fn annotated(d: &Deployment, set: &ReplicaSet, number: i64) -> Option<ReplicaSet> {
    let mut new = set.clone();
    let annotations = new.metadata.annotations.get_or_insert_default();
    for (key, value) in d
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(k, _)| !OWN.contains(&k.as_str()))
    {
        annotations.insert(key.clone(), value.clone());
    }
    let earlier = revision(set);
    if earlier < number {
        annotations.insert(REVISION.into(), number.to_string());
        if earlier > 0 {
            let history = annotations.entry(REVISION_HISTORY.into()).or_default();
            if !history.is_empty() {
                history.push(',');
            }
            history.push_str(&earlier.to_string());
        }
    }
    if !annotations.contains_key(DESIRED) || !annotations.contains_key(MAX) {
        let (desired, max) = limits(d);
        annotations.insert(DESIRED.into(), desired);
        annotations.insert(MAX.into(), max);
    }
    let spec = &mut new.spec;
    let min_ready = d.spec.min_ready_seconds;
    if spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0) {
        spec.min_ready_seconds = min_ready;
    }
    (new != *set).then_some(new)
}

#[cfg(test)]
mod tests;
