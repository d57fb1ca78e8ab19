//! Reconcilers of the managed service: each pass observes, decides, acts, and may be repeated at any point.
//!
//! A request to look at an object is a [`Work`] item and nothing more. One task takes items from a bounded queue of
//! distinct items; each item runs in a task of its own, at most [`PARALLEL`] at once, never two of one item. A pass says when
//! to look again; failures back off. An object that is as wanted costs nothing.

pub mod cluster;
pub mod operation;
pub mod pool;

use crate::service::Deps;
use base::{ClusterId, Shutdown};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, Span};

/// Passes that run at the same time.
pub const PARALLEL: usize = 32;
/// The longest pause after a failure.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// A cluster.
    Cluster { project: String, name: String },
    /// A node pool.
    Pool { cluster: ClusterId, name: String },
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    Wait,
    /// After this time.
    After(Duration),
}

/// Why a pass failed. It is always tried again.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The records could not be read or written.
    #[error(transparent)]
    Record(#[from] crate::records::RecordError),
    /// The cluster could not be reached.
    #[error(transparent)]
    Access(#[from] crate::AccessError),
    /// The keys could not be made or read.
    #[error(transparent)]
    Keys(#[from] pki::PkiError),
    /// The cloud refused.
    #[error("the cloud says: {0}")]
    Cloud(#[from] cloud_api::CloudError),
}

/// A wish that a flow looks at something, and the span of who wished it.
#[derive(Debug)]
pub struct Woken(Work, Span);

/// Wakes flows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker(mpsc::UnboundedSender<Woken>);

impl Waker {
    /// A waker and the end that [`run`] takes. The queue holds distinct items only, so it is bounded by the number of
    /// objects.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Woken>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Self(tx), rx)
    }

    /// Look at this soon.
    pub fn wake(&self, work: Work) {
        let _shutting_down = self.0.send(Woken(work, Span::current()));
    }
}

/// Runs passes until shutdown.
pub async fn run(deps: Arc<Deps>, mut wakes: mpsc::UnboundedReceiver<Woken>, shutdown: Shutdown) {
    let mut running: JoinSet<(Work, Result<Next, FlowError>)> = JoinSet::new();
    let mut busy: HashSet<Work> = HashSet::new();
    let mut again: HashSet<Work> = HashSet::new();
    let mut waiting: Vec<Work> = Vec::new();
    let mut timers: HashMap<Work, Instant> = HashMap::new();
    let mut failures: HashMap<Work, u32> = HashMap::new();
    // The span that an item's passes belong to, until it needs no more of them.
    let mut spans: HashMap<Work, Span> = HashMap::new();
    loop {
        while running.len() < PARALLEL
            && let Some(work) = waiting.pop()
        {
            busy.insert(work.clone());
            let deps = deps.clone();
            let parent = spans.get(&work).and_then(Span::id);
            let span = tracing::debug_span!(parent: parent, "pass", ?work, outcome = tracing::field::Empty);
            running.spawn(async move {
                let outcome = pass(&deps, &work).instrument(span.clone()).await;
                span.record("outcome", tracing::field::debug(&outcome));
                (work, outcome)
            });
        }
        let next_timer = timers.values().min().copied();
        let timer = async {
            match next_timer {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            Some(Woken(work, span)) = wakes.recv() => {
                timers.remove(&work);
                if !span.is_disabled() {
                    spans.insert(work.clone(), span);
                }
                if busy.contains(&work) {
                    again.insert(work);
                } else if !waiting.contains(&work) {
                    waiting.insert(0, work);
                }
            }
            Some(done) = running.join_next() => {
                let (work, outcome) = match done {
                    Ok(done) => done,
                    Err(panic) => { tracing::error!(%panic, "a flow panicked"); continue }
                };
                busy.remove(&work);
                let next = match outcome {
                    Ok(next) => { failures.remove(&work); next }
                    Err(error) => {
                        let count = failures.entry(work.clone()).or_default();
                        *count = count.saturating_add(1);
                        let pause = Duration::from_millis(250).saturating_mul(1 << (*count).min(8)).min(MAX_BACKOFF);
                        tracing::warn!(?work, %error, ?pause, "a pass failed and is tried again");
                        Next::After(pause)
                    }
                };
                if again.remove(&work) {
                    waiting.insert(0, work);
                } else if let Next::After(pause) = next {
                    timers.insert(work, Instant::now() + pause);
                } else {
                    spans.remove(&work);
                }
            }
            () = timer => {
                let now = Instant::now();
                let due: Vec<_> = timers.iter().filter(|(_, at)| **at <= now).map(|(w, _)| w.clone()).collect();
                for work in due {
                    timers.remove(&work);
                    waiting.insert(0, work);
                }
            }
        }
    }
    running.shutdown().await;
}

async fn pass(deps: &Deps, work: &Work) -> Result<Next, FlowError> {
    match work {
        Work::Cluster { project, name } => cluster::pass(deps, project, name).await,
        Work::Pool { cluster, name } => pool::pass(deps, cluster, name).await,
    }
}
