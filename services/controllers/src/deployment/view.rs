//! Reading Deployments and ReplicaSets: numbers, annotations, templates.

use crate::common::{Meta, Object, numbers};
use crate::kinds::{Deployment, ReplicaSet};
use std::cmp::Ordering;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const HASH: &str = "pod-template-hash";

/// Annotations that a ReplicaSet does not take over from its Deployment.
pub(super) const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

pub(super) fn wanted(d: &Deployment) -> i32 {
    d.spec.replicas.unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|s| s.available_replicas)
        .unwrap_or(0)
}

pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

pub(super) fn is_recreate(d: &Deployment) -> bool {
    d.spec.strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("Recreate")
}

pub(super) fn is_paused(d: &Deployment) -> bool {
    d.spec.paused.unwrap_or(false)
}

/// How many pods a rolling update may have too many, and too few. Not both are 0, or it could never move.
pub(super) fn fenceposts(d: &Deployment) -> (i32, i32) {
    if is_recreate(d) {
        return (0, 0);
    }
    let rolling = d.spec.strategy.as_ref().and_then(|s| s.rolling_update.as_ref());
    let wanted = wanted(d);
    let surge = numbers::scaled(rolling.and_then(|r| r.max_surge.as_ref()), wanted, true, "25%");
    let mut missing = numbers::scaled(
        rolling.and_then(|r| r.max_unavailable.as_ref()),
        wanted,
        false,
        "25%",
    );
    if surge == 0 && missing == 0 {
        missing = 1;
    }
    (surge, missing.min(wanted))
}

/// The most pods there may be.
pub(super) fn ceiling(d: &Deployment) -> i32 {
    wanted(d) + fenceposts(d).0
}

/// Oldest first.
pub(super) fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    (a.created(), a.name()).cmp(&(b.created(), b.name()))
}
