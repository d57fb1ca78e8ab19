//! Wall-clock time that tests can move.
//!
//! Durations are measured with `tokio::time`, which a paused runtime moves by itself. What Kubernetes objects
//! carry is wall-clock time, so [`Clock`] adds tokio's elapsed time to a fixed start: on a paused runtime both
//! move together, and a test that advances an hour sees timestamps an hour later.
//! Rejected: reading the system clock at each call (a paused test would then see two times).

use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::{Instant as StdInstant, SystemTime};

/// Where "now" comes from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    Tokio {
        start: Timestamp,
        at: tokio::time::Instant,
    },
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A clock that starts at `start` and moves with tokio's time; call it inside a (paused) runtime.
    pub fn virtual_from(start: Timestamp) -> Self {
        Self(Arc::new(Source::Tokio {
            start,
            at: tokio::time::Instant::now(),
        }))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::System => Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH),
            Source::Tokio { start, at } => {
                let passed = SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX);
                start.saturating_add(passed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// The present moment in whole seconds, as `metav1.Time` is written (RFC 3339, UTC, no fraction).
    pub fn now_rfc3339(&self) -> String {
        rfc3339(self.now())
    }
}

/// `metav1.Time`'s text form: RFC 3339 in UTC with whole seconds.
pub fn rfc3339(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`'s text form: RFC 3339 in UTC with six digits of fraction.
pub fn rfc3339_micro(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A monotonic reading for measuring how long something took (metrics, logs): never for deciding.
pub fn stopwatch() -> StdInstant {
    StdInstant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_with_tokio() {
        let clock = Clock::virtual_from("2026-01-01T00:00:00Z".parse().unwrap());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now_rfc3339(), "2026-01-01T01:00:00Z");
        assert_eq!(rfc3339_micro(clock.now()), "2026-01-01T01:00:00.000000Z");
    }
}
