//! Pods of one cluster that wait for a node.
//!
//! Pure: time is given. Active pods are ordered by priority, then by age in the queue. A pod that failed backs off from
//! one second to ten, doubling, as upstream does.

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

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    failures: u32,
    place: Place,
    /// Something happened while the pod was being decided on that may help it.
    heard: Events,
}

/// The queue of one cluster.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pods: HashMap<PodKey, Waiting>,
    active: BTreeMap<Rank, PodKey>,
    timers: BTreeMap<(Instant, u64), PodKey>,
    serial: u64,
}

impl Queue {
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
        match self.pods.get(key).map(|w| &w.place) {
            Some(Place::Active(rank)) => {
                self.active.remove(rank);
            }
            Some(Place::BackingOff(at, serial) | Place::Parked(_, at, serial)) => {
                self.timers.remove(&(*at, *serial));
            }
            Some(Place::Deciding | Place::Gated) | None => {}
        }
    }

    fn enter(&mut self, key: &PodKey, place: impl FnOnce(&Waiting, u64) -> Place) {
        self.leave(key);
        self.serial += 1;
        let serial = self.serial;
        let Some(waiting) = self.pods.get_mut(key) else {
            return;
        };
        waiting.place = place(waiting, serial);
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

    fn activate(&mut self, key: &PodKey) {
        self.enter(key, |w, serial| Place::Active((Reverse(w.pod.priority), serial)));
    }

    /// A pod wants a node, or what it wants has changed.
    pub(crate) fn offer(&mut self, pod: Arc<Pod>) {
        let key = pod.key.clone();
        let gated = !pod.gates.is_empty();
        match self.pods.get_mut(&key) {
            Some(waiting) if waiting.pod.uid == pod.uid => {
                let was_gated = matches!(waiting.place, Place::Gated);
                waiting.pod = pod;
                if was_gated && !gated {
                    self.activate(&key);
                }
            }
            _ => {
                self.leave(&key);
                let waiting = Waiting {
                    pod,
                    failures: 0,
                    place: Place::Gated,
                    heard: Events(0),
                };
                self.pods.insert(key.clone(), waiting);
                if !gated {
                    self.activate(&key);
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
    pub(crate) fn take(&mut self) -> Option<Arc<Pod>> {
        let (_, key) = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&key)?;
        waiting.place = Place::Deciding;
        waiting.heard = Events(0);
        Some(waiting.pod.clone())
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
            self.enter(key, |_, serial| Place::BackingOff(at, serial));
        } else {
            self.enter(key, |_, serial| Place::Parked(wakes_on, now + PATIENCE, serial));
        }
    }

    /// Something failed that has nothing to do with the nodes: again after a pause.
    pub(crate) fn retry(&mut self, key: &PodKey, now: Instant) {
        let Some(waiting) = self.pods.get_mut(key) else {
            return;
        };
        waiting.failures = waiting.failures.saturating_add(1);
        let at = now + Self::backoff(waiting.failures);
        self.enter(key, |_, serial| Place::BackingOff(at, serial));
    }

    /// Something happened in the cluster: parked pods that it may help come back, after their pause.
    pub(crate) fn hear(&mut self, events: Events, now: Instant) {
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
                self.activate(&key);
            } else {
                let at = now + Self::backoff(failures - 1);
                self.enter(&key, |_, serial| Place::BackingOff(at, serial));
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
            self.activate(&key);
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
        queue.take().map(|p| p.key.name.clone())
    }

    #[tokio::test]
    async fn the_important_come_first_then_the_early() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0)] {
            queue.offer(pod(name, priority));
        }
        let order: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[tokio::test]
    async fn a_parked_pod_wakes_on_what_may_help_and_on_nothing_else() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let only = pod("a", 0);
        queue.offer(only.clone());
        take(&mut queue);
        queue.park(&only.key, Events::NODE, now);
        queue.hear(Events::POD_GONE, now);
        assert!(!queue.has_active());
        queue.hear(Events::NODE, now);
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
        queue.park(&only.key, Events::NODE, now);
        queue.hear(Events::NODE, now);
        assert!(!queue.has_active(), "the second failure costs a pause");
        queue.tick(now + FIRST_BACKOFF);
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn what_happens_while_deciding_is_not_missed() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let only = pod("a", 0);
        queue.offer(only.clone());
        take(&mut queue);
        queue.hear(Events::NODE, now);
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
            queue.offer(pod.clone());
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
        queue.offer(gated("a"));
        assert_eq!(take(&mut queue), None);
        queue.offer(pod("a", 0));
        assert_eq!(take(&mut queue).as_deref(), Some("a"));
    }
}
