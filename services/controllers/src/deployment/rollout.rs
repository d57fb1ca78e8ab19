//! The arithmetic of scaling: new against old ReplicaSets, within surge and unavailability.

use super::view::{MAX, available, by_age, ceiling, fenceposts, is_recreate, replicas, wanted};
use crate::common::{Meta, Object};
use crate::kinds::{Deployment, ReplicaSet};
use std::cmp::Reverse;

/// A new size for the ReplicaSet of this name.
pub(super) type Size = (String, i32);

fn size(set: &ReplicaSet, to: i32) -> Size {
    (set.name().to_string(), to)
}

/// How large the new ReplicaSet should be now.
pub(super) fn new_size(d: &Deployment, total: i32, new: i32) -> i32 {
    if is_recreate(d) {
        return wanted(d);
    }
    let room = ceiling(d) - total;
    if room <= 0 {
        new
    } else {
        new + room.min(wanted(d) - new)
    }
}

/// One step of a rolling update: first up, and if there is nothing to do, down.
pub(super) fn rolling(d: &Deployment, new: &ReplicaSet, old: &[&ReplicaSet]) -> Vec<Size> {
    let total: i32 = old.iter().map(|s| replicas(s)).sum::<i32>() + replicas(new);
    let (now, want) = (replicas(new), wanted(d));
    let target = if now > want {
        want
    } else if now < want {
        new_size(d, total, now)
    } else {
        now
    };
    if target != now {
        return vec![size(new, target)];
    }
    down(d, new, old, total)
}

/// Scales old ReplicaSets down: first pods that are not available anyway, then as many as availability allows.
fn down(d: &Deployment, new: &ReplicaSet, old: &[&ReplicaSet], total: i32) -> Vec<Size> {
    let mut sets: Vec<(&ReplicaSet, i32)> = old.iter().map(|s| (*s, replicas(s))).collect();
    if sets.iter().all(|(_, n)| *n == 0) {
        return Vec::new();
    }
    sets.sort_by(|a, b| by_age(a.0, b.0));
    let least = wanted(d) - fenceposts(d).1;
    let missing = replicas(new) - available(new);
    let mut budget = total - least - missing;
    if budget <= 0 {
        return Vec::new();
    }
    for (set, n) in &mut sets {
        let sick = (*n - available(set)).clamp(0, budget);
        *n -= sick;
        budget -= sick;
    }
    let up: i32 = old.iter().map(|s| available(s)).sum::<i32>() + available(new);
    let mut budget = up - least;
    for (_, n) in &mut sets {
        let less = (*n).clamp(0, budget.max(0));
        *n -= less;
        budget -= less;
    }
    sets.into_iter()
        .filter(|(s, n)| *n != replicas(s))
        .map(|(s, n)| size(s, n))
        .collect()
}

/// Recreate: everything old goes.
pub(super) fn drain(old: &[&ReplicaSet]) -> Vec<Size> {
    old.iter()
        .filter(|s| replicas(s) > 0)
        .map(|s| size(s, 0))
        .collect()
}

/// The Deployment was scaled, perhaps in the middle of a rollout or while paused: every ReplicaSet gets its share.
pub(super) fn proportional(d: &Deployment, new: Option<&ReplicaSet>, old: &[&ReplicaSet]) -> Vec<Size> {
    let mut active: Vec<&ReplicaSet> = old
        .iter()
        .copied()
        .chain(new)
        .filter(|s| replicas(s) > 0)
        .collect();
    let latest = || new.or_else(|| old.iter().copied().max_by(|a, b| by_age(a, b)));
    match active.as_slice() {
        [] => {
            return latest()
                .filter(|s| replicas(s) != wanted(d))
                .map(|s| size(s, wanted(d)))
                .into_iter()
                .collect();
        }
        // Also when the size is right: the numbers it was told may be old.
        [one] => return vec![size(one, wanted(d))],
        _ => {}
    }
    if let Some(new) = new.filter(|n| replicas(n) == wanted(d) && available(n) == wanted(d)) {
        return drain(old).into_iter().chain([size(new, wanted(d))]).collect();
    }
    if is_recreate(d) {
        return active.iter().map(|s| size(s, replicas(s))).collect();
    }
    let total: i32 = active.iter().map(|s| replicas(s)).sum();
    let allowed = if wanted(d) > 0 { ceiling(d) } else { 0 };
    let difference = allowed - total;
    if difference > 0 {
        active.sort_by(|a, b| {
            (Reverse(replicas(a)))
                .cmp(&Reverse(replicas(b)))
                .then_with(|| by_age(b, a))
        });
    } else {
        active.sort_by(|a, b| {
            (Reverse(replicas(a)))
                .cmp(&Reverse(replicas(b)))
                .then_with(|| by_age(a, b))
        });
    }
    let mut sizes = Vec::new();
    let mut given = 0;
    for set in &active {
        let share = if difference == 0 {
            0
        } else {
            share(d, set, difference, given)
        };
        given += share;
        sizes.push((*set, replicas(set) + share));
    }
    // What rounding left over goes to the largest.
    if let Some((_, first)) = sizes.first_mut() {
        *first = (*first + difference - given).max(0);
    }
    sizes.into_iter().map(|(s, n)| size(s, n)).collect()
}

fn share(d: &Deployment, set: &ReplicaSet, difference: i32, given: i32) -> i32 {
    let n = replicas(set);
    if n == 0 || difference == given {
        return 0;
    }
    let fraction = if wanted(d) == 0 {
        -n
    } else {
        let known = set
            .annotation(MAX)
            .and_then(|m| m.parse::<i32>().ok())
            .filter(|m| *m != 0);
        let before = known
            .or_else(|| d.status.as_ref().and_then(|s| s.replicas))
            .unwrap_or(0);
        if before == 0 {
            return 0;
        }
        let target = f64::from(n) * f64::from(ceiling(d)) / f64::from(before);
        #[expect(clippy::cast_possible_truncation, reason = "a number of pods")]
        let target = target.round() as i32;
        target - n
    };
    let left = difference - given;
    if difference > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}
