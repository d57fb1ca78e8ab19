//! Counts and conditions of a Deployment.

use super::view::{available, ceiling, fenceposts, is_paused, replicas, wanted};
use crate::common::{Meta, Object, conditions, nz, plus};
use crate::kinds::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, Time};
use jiff::Timestamp;

const PROGRESSING: &str = "Progressing";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

pub(super) fn condition(
    kind: &str,
    ok: bool,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(if ok { "True" } else { "False" }.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// A deadline for progress, if there is one (the largest number means none).
fn deadline(d: &Deployment) -> Option<i64> {
    let seconds = d.spec.progress_deadline_seconds?;
    (seconds != i32::MAX).then_some(i64::from(seconds))
}

/// Counts, and whether enough pods are available.
pub(super) fn counts(
    d: &Deployment,
    new: Option<&ReplicaSet>,
    all: &[ReplicaSet],
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |f: &dyn Fn(&ReplicaSet) -> i32| all.iter().map(f).sum::<i32>();
    let up = sum(&available);
    let total: i32 = sum(&replicas);
    let old = d.status.clone().unwrap_or_default();
    let terminating = sum(&|s| {
        s.status
            .as_ref()
            .and_then(|s| s.terminating_replicas)
            .unwrap_or(0)
    });
    let mut status = DeploymentStatus {
        observed_generation: Some(d.generation()),
        replicas: nz(sum(&|s| s.status.as_ref().map_or(0, |s| s.replicas))),
        updated_replicas: nz(new.and_then(|s| s.status.as_ref()).map_or(0, |s| s.replicas)),
        ready_replicas: nz(sum(&|s| {
            s.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0)
        })),
        available_replicas: nz(up),
        unavailable_replicas: nz((total - up).max(0)),
        terminating_replicas: old.terminating_replicas.map(|_| terminating),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let enough = up >= wanted(d) - fenceposts(d).1;
    let (reason, message) = if enough {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        (
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    conditions::set(
        &mut status.conditions,
        condition("Available", enough, reason, message.into(), now),
    );
    status
}

/// Progress, and failures of ReplicaSets.
pub(super) fn rollout(
    d: &Deployment,
    new: Option<&ReplicaSet>,
    all: &[ReplicaSet],
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = counts(d, new, all, now);
    if deadline(d).is_none() {
        conditions::remove(&mut status.conditions, PROGRESSING);
    }
    let old = d.status.clone().unwrap_or_default();
    let current = conditions::find(&old.conditions, PROGRESSING).cloned();
    let settled = status.replicas == status.updated_replicas
        && current
            .as_ref()
            .is_some_and(|c| c.reason.as_deref() == Some(NEW_AVAILABLE));
    if deadline(d).is_some() && !settled {
        let who = match new {
            Some(set) => format!("ReplicaSet {:?}", set.name()),
            None => format!("Deployment {:?}", d.name()),
        };
        if is_complete(d, &status) {
            let text = format!("{who} has successfully progressed.");
            conditions::set(
                &mut status.conditions,
                condition(PROGRESSING, true, NEW_AVAILABLE, text, now),
            );
        } else if progressed(&old, &status) {
            let text = format!("{who} is progressing.");
            let mut c = condition(PROGRESSING, true, "ReplicaSetUpdated", text, now);
            if let Some(current) = current.filter(|c| c.status.as_deref() == Some("True")) {
                c.last_transition_time = current.last_transition_time;
            }
            conditions::remove(&mut status.conditions, PROGRESSING);
            conditions::set(&mut status.conditions, c);
        } else if timed_out(d, &status, now) {
            let text = format!("{who} has timed out progressing.");
            conditions::set(
                &mut status.conditions,
                condition(PROGRESSING, false, TIMED_OUT, text, now),
            );
        }
    }
    let failure = |s: &ReplicaSet| {
        let list = s.status.as_ref().map(|s| &s.conditions)?;
        conditions::find(list, "ReplicaFailure").cloned()
    };
    match new.and_then(failure).or_else(|| all.iter().find_map(failure)) {
        Some(f) => {
            let text = f.message.unwrap_or_default();
            let mut c = condition(
                "ReplicaFailure",
                f.status.as_deref() == Some("True"),
                f.reason.as_deref().unwrap_or(""),
                text,
                now,
            );
            c.last_transition_time = f.last_transition_time;
            conditions::set(&mut status.conditions, c);
        }
        None => conditions::remove(&mut status.conditions, "ReplicaFailure"),
    }
    status
}

/// Whether all pods are of the new template, available, and none is left over.
pub(super) fn is_complete(d: &Deployment, s: &DeploymentStatus) -> bool {
    let wanted = nz(wanted(d));
    s.updated_replicas == wanted
        && s.replicas == wanted
        && s.available_replicas == wanted
        && s.observed_generation >= d.metadata.generation
}

fn progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |v: Option<i32>| v.unwrap_or(0);
    let left = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || left(new) < left(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

fn timed_out(d: &Deployment, s: &DeploymentStatus, now: Timestamp) -> bool {
    let Some(c) = conditions::find(&s.conditions, PROGRESSING) else {
        return false;
    };
    match c.reason.as_deref() {
        Some(NEW_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => deadline(d)
            .zip(c.last_update_time.as_ref())
            .is_some_and(|(seconds, from)| plus(from.0, seconds) < now),
    }
}

/// When a rollout that does not move has to be called failed.
pub(super) fn look_at(d: &Deployment, s: &DeploymentStatus) -> Option<Timestamp> {
    let c = conditions::find(&s.conditions, PROGRESSING)?;
    if is_complete(d, s) || is_paused(d) || matches!(c.reason.as_deref(), Some(NEW_AVAILABLE | TIMED_OUT)) {
        return None;
    }
    let from = c.last_update_time.as_ref()?;
    Some(plus(from.0, deadline(d)? + 1))
}

/// The conditions that tell of pausing and resuming.
pub(super) fn pausing(d: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    if deadline(d).is_none() {
        return;
    }
    let reason = conditions::find(&status.conditions, PROGRESSING)
        .and_then(|c| c.reason.clone())
        .unwrap_or_default();
    let paused = is_paused(d);
    if reason == TIMED_OUT {
        return;
    }
    let unknown = |reason: &str, text: &str| {
        let mut c = condition(PROGRESSING, true, reason, text.into(), now);
        c.status = Some("Unknown".into());
        c
    };
    if paused && reason != "DeploymentPaused" {
        conditions::set(
            &mut status.conditions,
            unknown("DeploymentPaused", "Deployment is paused"),
        );
    } else if !paused && reason == "DeploymentPaused" {
        conditions::set(
            &mut status.conditions,
            unknown("DeploymentResumed", "Deployment is resumed"),
        );
    }
}

/// A new ReplicaSet counts as progress.
pub(super) fn made(d: &Deployment, status: &mut DeploymentStatus, name: &str, found: bool, now: Timestamp) {
    if deadline(d).is_none() {
        return;
    }
    let (reason, text) = if found {
        ("FoundNewReplicaSet", format!("Found new replica set {name:?}"))
    } else {
        (
            "NewReplicaSetCreated",
            format!("Created new replica set {name:?}"),
        )
    };
    let present = conditions::find(&status.conditions, PROGRESSING).is_some();
    if !found || !present {
        conditions::set(
            &mut status.conditions,
            condition(PROGRESSING, true, reason, text, now),
        );
    }
}

/// Whether a ReplicaSet carries the numbers of this Deployment (its annotations are kept up to date).
pub(super) fn limits(d: &Deployment) -> (String, String) {
    (wanted(d).to_string(), ceiling(d).to_string())
}
