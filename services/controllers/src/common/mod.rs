//! What several controllers share: reading metadata, pods' states, owner references, hashes, numbers or percentages.

pub(crate) mod claim;
pub(crate) mod conditions;
pub(crate) mod hash;
pub(crate) mod nodes;
pub(crate) mod numbers;
pub(crate) mod pods;
pub(crate) mod revisions;
pub(crate) mod services;

pub(crate) use api::Object;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// A part of the metadata, empty where absent.
pub(crate) trait Meta: Object {
    fn ns(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or("")
    }
    fn generation(&self) -> i64 {
        self.meta().generation.unwrap_or(0)
    }
    fn deleting(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }
    fn created(&self) -> Timestamp {
        self.meta()
            .creation_timestamp
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |t| t.0)
    }
    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }
    fn has_finalizer(&self, name: &str) -> bool {
        self.meta().finalizers.iter().flatten().any(|f| f == name)
    }
}

impl<K: Object> Meta for K {}

/// A count as status fields keep it: zero is left out.
pub(crate) fn nz(n: i32) -> Option<i32> {
    (n != 0).then_some(n)
}

/// A length as the API counts; objects are never that many.
pub(crate) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// What is left from `now` until `at`; at least a millisecond, so that a timer never spins.
pub(crate) fn until(at: Timestamp, now: Timestamp) -> Duration {
    let left = at.duration_since(now).max(SignedDuration::from_millis(1));
    Duration::try_from(left).unwrap_or(Duration::from_millis(1))
}

/// A number of seconds after a moment.
pub(crate) fn plus(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}
