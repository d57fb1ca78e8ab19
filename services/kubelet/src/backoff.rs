//! Waiting longer after each failure: restarts and image pulls begin at 10 s and double up to 300 s.
//!
//! Kubernetes' rule (documentation "Pod Lifecycle", container restart policy): the first restart is immediate; the
//! wait is counted from the end of the last instance and forgotten after twice the longest wait without a failure.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After the first failure.
    pub initial: SignedDuration,
    /// At most.
    pub max: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            initial: SignedDuration::from_secs(10),
            max: SignedDuration::from_secs(300),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    wait: SignedDuration,
    updated: Timestamp,
}

/// Waits by key. Kept by one pod's worker, so it is as long as the pod has containers.
#[derive(Debug, Default)]
pub struct Backoff {
    limits: Limits,
    entries: HashMap<String, Entry>,
}

impl Backoff {
    /// With limits of one's own.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
        }
    }

    /// Until when to wait after a failure at `since`; `None` if there is nothing to wait for.
    pub fn until(&self, key: &str, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key).filter(|e| !self.expired(e, now))?;
        let end = since.saturating_add(entry.wait).unwrap_or(Timestamp::MAX);
        (end > now).then_some(end)
    }

    /// The present wait for a key.
    pub fn wait(&self, key: &str) -> SignedDuration {
        self.entries.get(key).map_or(SignedDuration::ZERO, |e| e.wait)
    }

    /// Counts one more try.
    pub fn next(&mut self, key: &str, now: Timestamp) {
        let wait = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, now) => entry
                .wait
                .checked_mul(2)
                .unwrap_or(self.limits.max)
                .min(self.limits.max),
            _ => self.limits.initial,
        };
        self.entries.insert(key.to_owned(), Entry { wait, updated: now });
    }

    /// Forgets a key, after a success.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn expired(&self, entry: &Entry, now: Timestamp) -> bool {
        now.duration_since(entry.updated) > self.limits.max.checked_mul(2).unwrap_or(SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_five_minutes_and_are_forgotten_after_ten() {
        let mut b = Backoff::default();
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(b.until("c", now, now), None, "the first restart is immediate");
        for want in [10, 20, 40, 80, 160, 300, 300] {
            b.next("c", now);
            let until = b.until("c", now, now).unwrap();
            assert_eq!(until.duration_since(now), SignedDuration::from_secs(want));
            now = until;
            assert_eq!(b.until("c", now - SignedDuration::from_secs(want), now), None);
        }
        let later = now + SignedDuration::from_secs(1000);
        assert_eq!(b.until("c", later, later), None);
        b.next("c", later);
        assert_eq!(b.wait("c"), SignedDuration::from_secs(10));
    }
}
