//! Which target takes the next connection.
//!
//! Targets are used in turn. One that refused a connection is set aside for a while and tried last, so a client notices a dead
//! node only by a slower connection, and no timer runs while there is no traffic. Targets with an HTTP check are asked by
//! the service; a failed check counts until the next one.

use cloud_api::Target;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// How long a target that failed is set aside.
const ASIDE: Duration = Duration::from_secs(5);

/// The targets of one listener.
#[derive(Debug, Default)]
pub(crate) struct Targets(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: Vec<SocketAddr>,
    next: usize,
    aside: HashMap<SocketAddr, Instant>,
    unhealthy: Vec<SocketAddr>,
}

impl Targets {
    /// Replaces the targets; what is known of those that stay is kept.
    pub(crate) fn set(&self, targets: &[Target]) {
        let mut state = self.0.lock();
        state.all = targets.iter().map(|t| t.addr).collect();
        let all = state.all.clone();
        state.aside.retain(|a, _| all.contains(a));
        state.unhealthy.retain(|a| all.contains(a));
    }

    /// All targets in the order in which a new connection tries them.
    pub(crate) fn order(&self) -> Vec<SocketAddr> {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.aside.retain(|_, until| *until > now);
        let mut good: Vec<_> = state
            .all
            .iter()
            .copied()
            .filter(|a| !state.unhealthy.contains(a) && !state.aside.contains_key(a))
            .collect();
        if !good.is_empty() {
            let by = state.next % good.len();
            good.rotate_left(by);
            state.next = state.next.wrapping_add(1);
        }
        let rest: Vec<_> = state.all.iter().copied().filter(|a| !good.contains(a)).collect();
        // A target whose check failed is used only if no other is left, as with all checks failing: better try than refuse.
        good.extend(rest.iter().filter(|a| !state.unhealthy.contains(a)));
        if good.is_empty() {
            good.extend(rest);
        }
        good
    }

    /// Notes that a connection to this target failed.
    pub(crate) fn failed(&self, target: SocketAddr) {
        self.0.lock().aside.insert(target, Instant::now() + ASIDE);
    }

    /// Notes what a health check said.
    pub(crate) fn checked(&self, target: SocketAddr, healthy: bool) {
        let mut state = self.0.lock();
        state.unhealthy.retain(|a| *a != target);
        if !healthy {
            state.unhealthy.push(target);
        }
    }

    /// All targets.
    pub(crate) fn all(&self) -> Vec<SocketAddr> {
        self.0.lock().all.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(ports: &[u16]) -> Vec<Target> {
        ports
            .iter()
            .map(|p| Target {
                addr: ([10, 0, 0, 1], *p).into(),
                zone: None,
            })
            .collect()
    }

    fn ports(t: &Targets) -> Vec<u16> {
        t.order().iter().map(SocketAddr::port).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_failed_is_tried_last_until_its_time_is_over() {
        let t = Targets::default();
        t.set(&targets(&[1, 2, 3]));
        assert_eq!(ports(&t), [1, 2, 3]);
        assert_eq!(ports(&t), [2, 3, 1]);
        t.failed(([10, 0, 0, 1], 2).into());
        for _ in 0..4 {
            assert_eq!(ports(&t)[2], 2);
        }
        tokio::time::advance(ASIDE + Duration::from_millis(1)).await;
        assert!((0..3).any(|_| ports(&t)[0] == 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_whose_check_failed_is_used_only_when_all_failed() {
        let t = Targets::default();
        t.set(&targets(&[1, 2]));
        t.checked(([10, 0, 0, 1], 1).into(), false);
        assert_eq!(ports(&t), [2]);
        t.checked(([10, 0, 0, 1], 2).into(), false);
        assert_eq!(ports(&t).len(), 2);
        t.checked(([10, 0, 0, 1], 1).into(), true);
        assert_eq!(ports(&t), [1]);
    }
}
