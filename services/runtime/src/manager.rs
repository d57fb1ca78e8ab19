//! Runs controllers: wires them to informers, gives each a queue, and lets all share one pool of workers.
//!
//! Each controller has one dispatcher task; a key becomes a task only while it is worked on. So the number of tasks
//! depends on the work, not on the number of clusters.

use crate::clients::{Clients, Identity};
use crate::controller::{Caches, Controller, Error, Handle, Next, Wiring};
use crate::cx::Cx;
use crate::informers::Informers;
use crate::key::Key;
use crate::leadership::{Claim, Leadership};
use crate::metrics::QueueMetrics;
use crate::own_writes::OwnWrites;
use crate::queue::Queue;
use crate::recorder::Recorder;
use base::{Clock, Shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Reconciliations of all controllers at once.
const POOL: usize = 128;
/// How long one may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// How soon to look again whether the caches show what was written.
const LAG: Duration = Duration::from_millis(5);

/// What the manager needs.
#[derive(Clone)]
pub struct ManagerDeps {
    /// Events.
    pub informers: Arc<Informers>,
    /// Writes.
    pub clients: Arc<dyn Clients>,
    /// Whether we may act.
    pub leadership: Arc<dyn Leadership>,
    /// Events about objects.
    pub recorder: Recorder,
    /// The time.
    pub clock: Clock,
    /// The role of the process, e.g. `kube-controller-manager`.
    pub role: &'static str,
    /// Where its queues are counted.
    pub metrics: QueueMetrics,
}

impl std::fmt::Debug for ManagerDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManagerDeps")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

struct Running {
    controller: Arc<dyn Controller>,
    queue: Arc<Queue>,
    caches: Arc<Caches>,
    own_writes: Arc<OwnWrites>,
    primary: Option<client::Resource>,
    /// Slots of which keys were dropped because they were not ours.
    dropped: AtomicU64,
}

/// Runs controllers until `shutdown`, then waits for reconciliations in flight.
pub async fn run(deps: ManagerDeps, controllers: Vec<Arc<dyn Controller>>, shutdown: Shutdown) {
    let tracker = TaskTracker::new();
    let pool = Arc::new(Semaphore::new(POOL));
    let running: Vec<_> = controllers
        .into_iter()
        .map(|c| Arc::new(wire(&deps, c)))
        .collect();
    deps.informers.start();
    for one in &running {
        one.controller.start(&Handle {
            queue: one.queue.clone(),
            informers: deps.informers.clone(),
        });
    }
    if shutdown.run_until(deps.informers.synced()).await.is_none() {
        return;
    }
    // Before the first key is taken: a slot that is gained from now on is looked at as a whole.
    let mut slots = deps.leadership.slots();
    let mut owned = *slots.borrow_and_update();
    for one in &running {
        let (deps, one, pool, stop) = (deps.clone(), one.clone(), pool.clone(), shutdown.clone());
        let tasks = tracker.clone();
        tracker.spawn(async move { stop.run_until(dispatch(deps, one, pool, tasks)).await });
    }
    while let Some(Ok(())) = shutdown.run_until(slots.changed()).await {
        let now = *slots.borrow_and_update();
        let gained = now & !owned;
        owned = now;
        for one in &running {
            // A slot may be lost and gained again between two looks; what was dropped meanwhile tells.
            let gained = gained | now & one.dropped.fetch_and(!now, Ordering::SeqCst);
            if gained == 0 {
                continue;
            }
            let ours = |c: &base::ClusterId| gained & (1 << c.slot()) != 0;
            let handle = Handle {
                queue: one.queue.clone(),
                informers: deps.informers.clone(),
            };
            one.controller.gained(&handle, &ours);
            let Some(primary) = &one.primary else { continue };
            let cache = deps.informers.informer(primary, &[]).cache().clone();
            for key in cache.keys(ours) {
                one.queue.add(key);
            }
        }
    }
    shutdown.triggered().await;
    tracker.close();
    let drained = tokio::time::timeout(Duration::from_secs(5), tracker.wait()).await;
    if drained.is_err() {
        tracing::warn!("some reconciliations did not end in time");
    }
}

fn wire(deps: &ManagerDeps, controller: Arc<dyn Controller>) -> Running {
    let mut wiring = Wiring::default();
    controller.wire(&mut wiring);
    let mut caches = Caches::default();
    for (group, plural, resource, fields) in &wiring.kinds {
        caches.0.insert(
            (*group, *plural),
            deps.informers.informer(resource, fields).cache().clone(),
        );
    }
    let caches = Arc::new(caches);
    let queue = deps.metrics.queue(controller.queue());
    for (resource, mapper) in wiring.mappers {
        let (queue, caches, delay) = (queue.clone(), caches.clone(), wiring.delay);
        deps.informers
            .informer(&resource, &[])
            .subscribe(Arc::new(move |change| {
                for key in mapper(&caches, change) {
                    queue.add_after(key, delay);
                }
            }));
    }
    Running {
        controller,
        queue,
        caches,
        own_writes: Arc::default(),
        primary: wiring.primary,
        dropped: AtomicU64::new(0),
    }
}

async fn dispatch(deps: ManagerDeps, one: Arc<Running>, pool: Arc<Semaphore>, tasks: TaskTracker) {
    let own = Arc::new(Semaphore::new(one.controller.workers()));
    loop {
        let Ok(turn) = own.clone().acquire_owned().await else {
            return;
        };
        let key = one.queue.next().await;
        let guard = match deps.leadership.claim(&key.cluster) {
            Claim::Mine(guard) => guard,
            Claim::NotMine => {
                one.dropped.fetch_or(1 << key.cluster.slot(), Ordering::SeqCst);
                one.queue.forget(&key);
                // Gained since the question: then nobody may have seen the note.
                if matches!(deps.leadership.claim(&key.cluster), Claim::Mine(_)) {
                    one.queue.add(key.clone());
                }
                one.queue.done(&key);
                continue;
            }
        };
        if !one.own_writes.show(&key) {
            one.queue.add_after(key.clone(), LAG);
            one.queue.done(&key);
            continue;
        }
        let Ok(place) = pool.clone().acquire_owned().await else {
            return;
        };
        let (deps, one) = (deps.clone(), one.clone());
        tasks.spawn(async move {
            let _held = (turn, place);
            let identity = Identity {
                role: deps.role,
                component: one.controller.account(),
            };
            let client = deps.clients.client(&key.cluster, &identity, guard);
            let cx = Cx {
                key: key.clone(),
                component: one.controller.name(),
                account: one.controller.account(),
                client,
                caches: one.caches.clone(),
                own_writes: one.own_writes.clone(),
                recorder: deps.recorder.clone(),
                clock: deps.clock.clone(),
            };
            let span = tracing::debug_span!(
                "reconcile",
                controller = one.controller.name(),
                cluster = %key.cluster,
                namespace = %key.namespace,
                name = %key.name
            );
            let work = one.controller.reconcile(&cx, &key).instrument(span);
            let result = tokio::time::timeout(DEADLINE, work).await;
            let result =
                result.unwrap_or_else(|_| Err(Error::NotYet("the reconciliation took too long".into())));
            finish(&one, &key, result);
        });
    }
}

fn finish(one: &Running, key: &Key, result: Result<Next, Error>) {
    match result {
        Ok(Next::Done) => one.queue.forget(key),
        Ok(Next::After(delay)) => {
            one.queue.forget(key);
            one.queue
                .add_after(key.clone(), delay.max(Duration::from_millis(1)));
        }
        Err(error) => {
            let pause = one.queue.add_failed(key.clone());
            let controller = one.controller.name();
            let many = one.queue.failures(key) > 8;
            if many && !error.is_conflict() {
                tracing::warn!(controller, %key, %error, ?pause, "reconciling fails again and again");
            } else {
                tracing::debug!(controller, %key, %error, ?pause, "reconciling failed");
            }
        }
    }
    one.queue.done(key);
}
