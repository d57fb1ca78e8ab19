//! Probes: one task for each probe of each running container, a state machine that counts, and five ways to ask.

pub mod ask;
pub mod grpc;
pub mod http;
pub mod state;

use crate::k8s::{Container, Pod, Probe};
use state::Verdicts;
use std::sync::Arc;
use std::time::Duration;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Has it started?
    Startup,
    /// Is it alive?
    Liveness,
    /// Can it serve?
    Readiness,
}

impl Kind {
    /// The probe of this kind, if the container has one.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }

    /// As events say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// A changed verdict about one container instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The runtime's id of the instance.
    pub instance: String,
    /// The container's name.
    pub container: String,
    /// Which probe.
    pub kind: Kind,
    /// What it says now.
    pub healthy: bool,
}

/// What a probe's task needs.
#[derive(Clone, Debug)]
pub struct Target {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// The runtime's id of the instance.
    pub instance: String,
    /// The pod's first address.
    pub pod_ip: String,
    /// How long the container has run already.
    pub running_for: Duration,
}

/// Asks until it is dropped; tells `report` each changed verdict.
pub async fn run(
    kind: Kind,
    target: Target,
    asker: ask::Asker,
    events: crate::events::Events,
    report: impl Fn(Report) + Send,
) {
    let Some(probe) = kind.of(&target.container).cloned() else {
        return;
    };
    let seconds = |v: Option<i32>, default: u64| {
        v.and_then(|v| u64::try_from(v).ok())
            .filter(|v| *v > 0)
            .unwrap_or(default)
    };
    let delay = Duration::from_secs(seconds(probe.initial_delay_seconds, 0));
    let period = Duration::from_secs(seconds(probe.period_seconds, 10));
    let mut verdicts = Verdicts::new(
        kind,
        u32::try_from(seconds(probe.success_threshold, 1)).unwrap_or(1),
        u32::try_from(seconds(probe.failure_threshold, 3)).unwrap_or(3),
    );
    tokio::time::sleep(delay.saturating_sub(target.running_for)).await;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = asker.ask(&probe, &target).await;
        if let Err(why) = &outcome {
            let text = format!("{} probe failed: {why}", kind.as_str());
            events.pod(
                &target.pod,
                Some(&target.container.name),
                crate::events::Level::Warning,
                "Unhealthy",
                text,
            );
        }
        if let Some(healthy) = verdicts.count(outcome.is_ok()) {
            report(Report {
                instance: target.instance.clone(),
                container: target.container.name.clone(),
                kind,
                healthy,
            });
            // A startup probe has one answer; after a failed liveness probe the container is stopped.
            if kind == Kind::Startup || (kind == Kind::Liveness && !healthy) {
                return;
            }
        } else if kind != Kind::Startup && verdicts.undecided() {
            // Readiness is asked faster until the first verdict, so that a slow period does not delay a ready pod.
            ticks.reset_after(period.min(Duration::from_secs(1)));
        }
    }
}
