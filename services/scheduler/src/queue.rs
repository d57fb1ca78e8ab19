//! Pods of one cluster that wait for a node.
//!
//! Pure: time is given. Active pods are ordered by priority, then by age in the queue. A pod that failed backs off from
//! one second to ten, doubling, as upstream does. Each move is counted in [`Metrics`].

use crate::metrics::{Line, Metrics};
use scheduling::framework::Events;
use scheduling::{Pod, PodKey};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A parked pod is tried again after this long even if nothing seemed to help.
const PATIENCE: Duration = Duration::from_secs(300);

/// What brings a pod into a queue, as upstream's metric calls it. Events of the cluster are named by who reports them.
const POD_ADD: &str = "UnschedulablePodAdd";
const GATES_LIFTED: &str = "UnschedulablePodUpdatePodSchedulingGatesEliminated";
const ATTEMPT_FAILED: &str = "ScheduleAttemptFailure";
const PAUSE_OVER: &str = "BackoffComplete";
const PATIENCE_OVER: &str = "UnschedulableTimeout";

/// A pod's place in the order: higher priority first, then first come, first served.
type Rank = (Reverse<i64>, u64);

#[derive(Debug)]
enum Place {
    Active(Rank),
    /// Until then.
    BackingOff(Instant, u64),
    /// Until something of this kind happens, or the patience ends.
    Parked(Events, Instant, u64),
    /// Taken by the loop.
    Deciding,
    /// Has scheduling gates.
    Gated,
}

impl Place {
    fn line(&self) -> Option<Line> {
        match self {
            Self::Active(_) => Some(Line::Active),
            Self::BackingOff(..) => Some(Line::Backoff),
            Self::Parked(..) => Some(Line::Unschedulable),
            Self::Gated => Some(Line::Gated),
            Self::Deciding => None,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    failures: u32,
    /// How often it was taken.
    attempts: u32,
    /// When it became active for the first time.
    since: Option<Instant>,
    place: Place,
    /// Something happened while the pod was being decided on that may help it.
    heard: Events,
}

/// One turn of a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// When it was taken.
    pub(crate) began: Instant,
    /// When the pod became active for the first time.
    pub(crate) since: Instant,
    /// Its number, from 1.
    pub(crate) count: u32,
}

/// The queue of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pods: HashMap<PodKey, Waiting>,
    active: BTreeMap<Rank, PodKey>,
    timers: BTreeMap<(Instant, u64), PodKey>,
    serial: u64,
    metrics: Metrics,
}

impl Queue {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub(crate) fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// When a pod's pause ends.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    fn leave(&mut self, key: &PodKey) {
        let Some(waiting) = self.pods.get(key) else { return };
        self.metrics.left(waiting.place.line());
        match &waiting.place {
            Place::Active(rank) => {
                self.active.remove(rank);
            }
            Place::BackingOff(at, serial) | Place::Parked(_, at, serial) => {
                self.timers.remove(&(*at, *serial));
            }
            Place::Deciding | Place::Gated => {}
        }
    }

    fn enter(&mut self, key: &PodKey, event: &'static str, place: impl FnOnce(&Waiting, u64) -> Place) {
        self.leave(key);
        self.serial += 1;
        let serial = self.serial;
        let Some(waiting) = self.pods.get_mut(key) else {
            return;
        };
        waiting.place = place(waiting, serial);
        self.metrics.entered(waiting.place.line(), event);
        match waiting.place {
            Place::Active(rank) => {
                self.active.insert(rank, key.clone());
            }
            Place::BackingOff(at, _) | Place::Parked(_, at, _) => {
                self.timers.insert((at, serial), key.clone());
            }
            Place::Deciding | Place::Gated => {}
        }
    }

    fn activate(&mut self, key: &PodKey, event: &'static str, now: Instant) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.since.get_or_insert(now);
        }
        self.enter(key, event, |w, serial| {
            Place::Active((Reverse(w.pod.priority), serial))
        });
    }

    /// A pod wants a node, or what it wants has changed.
    pub(crate) fn offer(&mut self, pod: Arc<Pod>, now: Instant) {
        let key = pod.key.clone();
        let gated = !pod.gates.is_empty();
        match self.pods.get_mut(&key) {
            Some(waiting) if waiting.pod.uid == pod.uid => {
                let was_gated = matches!(waiting.place, Place::Gated);
                waiting.pod = pod;
                if was_gated && !gated {
                    self.activate(&key, GATES_LIFTED, now);
                }
            }
            _ => {
                self.leave(&key);
                let waiting = Waiting {
                    pod,
                    failures: 0,
                    attempts: 0,
                    since: None,
                    place: Place::Deciding,
                    heard: Events(0),
                };
                self.pods.insert(key.clone(), waiting);
                if gated {
                    self.enter(&key, POD_ADD, |_, _| Place::Gated);
                } else {
                    self.activate(&key, POD_ADD, now);
                }
            }
        }
    }

    /// A pod needs no node any more.
    pub(crate) fn forget(&mut self, key: &PodKey) {
        self.leave(key);
        self.pods.remove(key);
    }

    /// Takes the first of the active pods, to be decided on.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(Arc<Pod>, Attempt)> {
        let (_, key) = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&key)?;
        self.metrics.left(Some(Line::Active));
        waiting.place = Place::Deciding;
        waiting.attempts = waiting.attempts.saturating_add(1);
        waiting.heard = Events(0);
        let attempt = Attempt {
            began: now,
            since: waiting.since.unwrap_or(now),
            count: waiting.attempts,
        };
        Some((waiting.pod.clone(), attempt))
    }

    fn backoff(failures: u32) -> Duration {
        FIRST_BACKOFF
            .saturating_mul(1 << failures.saturating_sub(1).min(8))
            .min(LAST_BACKOFF)
    }

    /// No node would do: the pod waits for one of these changes.
    pub(crate) fn park(&mut self, key: &PodKey, wakes_on: Events, now: Instant) {
        let Some(waiting) = self.pods.get_mut(key) else {
            return;
        };
        waiting.failures = waiting.failures.saturating_add(1);
        if waiting.heard.overlaps(wakes_on) {
            let at = now + Self::backoff(waiting.failures);
            self.enter(key, ATTEMPT_FAILED, |_, serial| Place::BackingOff(at, serial));
        } else {
            self.enter(key, ATTEMPT_FAILED, |_, serial| {
                Place::Parked(wakes_on, now + PATIENCE, serial)
            });
        }
    }

    /// Something failed that has nothing to do with the nodes: again after a pause.
    pub(crate) fn retry(&mut self, key: &PodKey, now: Instant) {
        let Some(waiting) = self.pods.get_mut(key) else {
            return;
        };
        waiting.failures = waiting.failures.saturating_add(1);
        let at = now + Self::backoff(waiting.failures);
        self.enter(key, ATTEMPT_FAILED, |_, serial| Place::BackingOff(at, serial));
    }

    /// Something happened in the cluster: parked pods that it may help come back, after their pause.
    pub(crate) fn hear(&mut self, events: Events, event: &'static str, now: Instant) {
        let mut helped = Vec::new();
        for (key, waiting) in &mut self.pods {
            match &waiting.place {
                Place::Parked(wakes_on, ..) if wakes_on.overlaps(events) => {
                    helped.push((key.clone(), waiting.failures));
                }
                Place::Deciding => waiting.heard = waiting.heard.and(events),
                _ => {}
            }
        }
        for (key, failures) in helped {
            // The first failure costs no pause: mostly the node or the room has just come.
            if failures <= 1 {
                self.activate(&key, event, now);
            } else {
                let at = now + Self::backoff(failures - 1);
                self.enter(&key, event, |_, serial| Place::BackingOff(at, serial));
            }
        }
    }

    /// Pauses that are over.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((&(at, _), _)) = self.timers.first_key_value()
            && at <= now
        {
            let Some((_, key)) = self.timers.pop_first() else {
                break;
            };
            let parked = matches!(self.pods.get(&key).map(|w| &w.place), Some(Place::Parked(..)));
            self.activate(&key, if parked { PATIENCE_OVER } else { PAUSE_OVER }, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::{Value, value};

    fn pod(name: &'static str, priority: i64) -> Arc<Pod> {
        let mut object = value!({"metadata": {"name": name, "namespace": "d", "uid": name}});
        object.at_mut(&["spec"]).insert("priority", priority);
        Arc::new(Pod::read(&object))
    }

    fn gated(name: &'static str) -> Arc<Pod> {
        let mut object = value!({"metadata": {"name": name, "namespace": "d", "uid": name}});
        object
            .at_mut(&["spec"])
            .insert("schedulingGates", Value::List(vec![value!({"name": "g"})]));
        Arc::new(Pod::read(&object))
    }

    fn take(queue: &mut Queue) -> Option<String> {
        queue.take(Instant::now()).map(|(p, _)| p.key.name.clone())
    }

    #[tokio::test]
    async fn the_important_come_first_then_the_early() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0)] {
            queue.offer(pod(name, priority), Instant::now());
        }
        let order: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[tokio::test]
    async fn a_parked_pod_wakes_on_what_may_help_and_on_nothing_else() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let only = pod("a", 0);
        queue.offer(only.clone(), Instant::now());
        take(&mut queue);
        queue.park(&only.key, Events::NODE, now);
        queue.hear(Events::POD_GONE, "", now);
        assert!(!queue.has_active());
        queue.hear(Events::NODE, "", now);
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
        queue.park(&only.key, Events::NODE, now);
        queue.hear(Events::NODE, "", now);
        assert!(!queue.has_active(), "the second failure costs a pause");
        queue.tick(now + FIRST_BACKOFF);
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn what_happens_while_deciding_is_not_missed() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let only = pod("a", 0);
        queue.offer(only.clone(), Instant::now());
        take(&mut queue);
        queue.hear(Events::NODE, "", now);
        queue.park(&only.key, Events::NODE, now);
        queue.tick(now + FIRST_BACKOFF);
        assert!(queue.has_active());
    }

    #[tokio::test]
    async fn patience_ends_and_the_forgotten_stay_forgotten() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for name in ["a", "b"] {
            let pod = pod(name, 0);
            queue.offer(pod.clone(), Instant::now());
            take(&mut queue);
            queue.park(&pod.key, Events::NODE, now);
        }
        queue.forget(&pod("b", 0).key);
        queue.tick(now + PATIENCE);
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
        assert_eq!(take(&mut queue), None);
        assert_eq!(queue.next_timer(), None);
    }

    #[tokio::test]
    async fn a_gate_holds_a_pod_until_it_is_lifted() {
        let mut queue = Queue::default();
        queue.offer(gated("a"), Instant::now());
        assert_eq!(take(&mut queue), None);
        queue.offer(pod("a", 0), Instant::now());
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
    }
}
