//! A queue of keys: each key once, one worker at a time for a key, fair between clusters, with delays and backoff.
//!
//! It is client-go's work queue with one difference: keys wait in a line for each cluster, and the lines take turns,
//! so that a tenant with a hundred thousand changed pods delays nobody else. A cluster whose line is empty has no line.

use crate::key::Key;
use crate::metrics::{Meter, State};
use base::ClusterId;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first pause after a failure; each further one doubles it.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// The longest pause (client-go has 1000 s; a person who waits for a retry gives up earlier).
const BACKOFF_LAST: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
struct Inner {
    turns: VecDeque<ClusterId>,
    lines: HashMap<ClusterId, VecDeque<Key>>,
    /// Since when.
    waiting: HashMap<Key, Instant>,
    working: HashMap<Key, Instant>,
    again: HashMap<Key, Instant>,
    later: BinaryHeap<Reverse<(Instant, Key)>>,
    due: HashMap<Key, Instant>,
    failures: HashMap<Key, u32>,
}

impl Inner {
    /// Returns whether a worker has something new to take.
    fn add(&mut self, key: Key, now: Instant, meter: &Meter) -> bool {
        if self.working.contains_key(&key) {
            self.again.entry(key).or_insert_with(|| {
                meter.adds.inc();
                now
            });
            return false;
        }
        if self.waiting.contains_key(&key) {
            return false;
        }
        meter.adds.inc();
        self.line_up(key, now);
        true
    }

    fn line_up(&mut self, key: Key, since: Instant) {
        self.waiting.insert(key.clone(), since);
        let line = self.lines.entry(key.cluster.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(key.cluster.clone());
        }
        line.push_back(key);
    }

    fn take(&mut self, now: Instant, meter: &Meter) -> Option<Key> {
        let cluster = self.turns.pop_front()?;
        let line = self.lines.get_mut(&cluster)?;
        let key = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&cluster);
        } else {
            self.turns.push_back(cluster);
        }
        if let Some(since) = self.waiting.remove(&key) {
            meter.waited.observe(seconds(since, now));
        }
        self.working.insert(key.clone(), now);
        Some(key)
    }

    /// Moves what is due into the lines and returns when the next is.
    fn ripen(&mut self, now: Instant, meter: &Meter) -> Option<Instant> {
        while let Some(Reverse((at, _))) = self.later.peek() {
            if *at > now {
                return Some(*at);
            }
            let Some(Reverse((at, key))) = self.later.pop() else {
                break;
            };
            // An earlier time may have been set since; then this one is stale.
            if self.due.get(&key) == Some(&at) {
                self.due.remove(&key);
                self.add(key, now, meter);
            }
        }
        None
    }
}

fn seconds(since: Instant, now: Instant) -> f64 {
    now.saturating_duration_since(since).as_secs_f64()
}

/// See the module. Cheap calls; one reader.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
    meter: Meter,
}

impl Queue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn metered(meter: Meter) -> Self {
        Self {
            meter,
            ..Self::default()
        }
    }

    /// Adds a key. One that waits already is not added twice; one that is being worked on is worked on again after.
    pub fn add(&self, key: Key) {
        if self.inner.lock().add(key, Instant::now(), &self.meter) {
            self.wake.notify_one();
        }
    }

    /// Adds a key after a while; the earliest of several times counts.
    pub fn add_after(&self, key: Key, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.meter.retries.inc();
        let at = Instant::now() + delay.min(Duration::from_secs(365 * 24 * 3600));
        let mut inner = self.inner.lock();
        if inner.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        inner.due.insert(key.clone(), at);
        inner.later.push(Reverse((at, key)));
        drop(inner);
        self.wake.notify_one();
    }

    /// Adds a key that failed: after 5 ms, then 10 ms and so on to five minutes. Returns the pause.
    pub fn add_failed(&self, key: Key) -> Duration {
        let count = {
            let mut inner = self.inner.lock();
            let count = inner.failures.entry(key.clone()).or_default();
            *count = count.saturating_add(1);
            *count
        };
        let pause = BACKOFF_FIRST
            .saturating_mul(1u32.checked_shl(count - 1).unwrap_or(u32::MAX))
            .min(BACKOFF_LAST);
        self.add_after(key, pause);
        pause
    }

    /// The key succeeded: its next failure begins with the shortest pause again.
    pub fn forget(&self, key: &Key) {
        self.inner.lock().failures.remove(key);
    }

    /// How often a key has failed in a row.
    pub fn failures(&self, key: &Key) -> u32 {
        self.inner.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The worker is done with a key that [`Queue::next`] gave.
    pub fn done(&self, key: &Key) {
        let mut inner = self.inner.lock();
        if let Some(since) = inner.working.remove(key) {
            self.meter.worked.observe(seconds(since, Instant::now()));
        }
        if let Some(since) = inner.again.remove(key) {
            inner.line_up(key.clone(), since);
            drop(inner);
            self.wake.notify_one();
        }
    }

    /// The next key, from the next cluster in turn. Waits for one. Each must be given back with [`Queue::done`].
    pub async fn next(&self) -> Key {
        loop {
            let (key, at) = {
                let mut inner = self.inner.lock();
                let now = Instant::now();
                let at = inner.ripen(now, &self.meter);
                (inner.take(now, &self.meter), at)
            };
            match (key, at) {
                (Some(key), _) => return key,
                (None, None) => self.wake.notified().await,
                (None, Some(at)) => {
                    // Either may come first; both lead to another look.
                    let _elapsed = tokio::time::timeout_at(at, self.wake.notified()).await;
                }
            }
        }
    }

    /// Keys that wait now (not those with a delay).
    pub fn len(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For those who read metrics.
    pub(crate) fn state(&self) -> State {
        let (inner, now) = (self.inner.lock(), Instant::now());
        let mut state = State {
            depth: inner.waiting.len() + inner.again.len(),
            ..State::default()
        };
        for since in inner.working.values() {
            let age = seconds(*since, now);
            state.unfinished += age;
            state.longest = state.longest.max(age);
        }
        state
    }

    /// Forgets everything about a cluster that has gone.
    pub fn forget_cluster(&self, cluster: &ClusterId) {
        let mut inner = self.inner.lock();
        inner.lines.remove(cluster);
        inner.turns.retain(|c| c != cluster);
        inner.waiting.retain(|k, _| k.cluster != *cluster);
        inner.again.retain(|k, _| k.cluster != *cluster);
        inner.due.retain(|k, _| k.cluster != *cluster);
        inner.failures.retain(|k, _| k.cluster != *cluster);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(cluster: &str, name: &str) -> Key {
        Key::new(&cluster.parse().unwrap(), "ns", name)
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_cluster_does_not_delay_a_quiet_one() {
        let queue = Queue::new();
        for i in 0..1000 {
            queue.add(key("busy", &i.to_string()));
        }
        queue.add(key("quiet", "x"));
        queue.next().await;
        assert_eq!(queue.next().await, key("quiet", "x"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_changes_while_worked_on_comes_once_more() {
        let queue = Queue::new();
        queue.add(key("c", "a"));
        let a = queue.next().await;
        queue.add(a.clone());
        queue.add(a.clone());
        assert!(queue.is_empty(), "nobody else may get it now");
        queue.done(&a);
        assert_eq!(queue.next().await, a);
        queue.done(&a);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_meter_counts_keys_and_not_calls() {
        let metrics = crate::QueueMetrics::default();
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let queue = metrics.queue("q");
        queue.add(key("c", "a"));
        queue.add(key("c", "a"));
        tokio::time::advance(Duration::from_secs(2)).await;
        let a = queue.next().await;
        queue.add(a.clone());
        queue.add(a.clone());
        tokio::time::advance(Duration::from_secs(3)).await;
        let read = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let busy = read();
        for line in [
            "workqueue_depth{name=\"q\"} 1.0\n",
            "workqueue_unfinished_work_seconds{name=\"q\"} 3.0\n",
            "workqueue_longest_running_processor_seconds{name=\"q\"} 3.0\n",
        ] {
            assert!(busy.contains(line), "{busy}");
        }
        queue.done(&a);
        let a = queue.next().await;
        queue.add_failed(a.clone());
        queue.done(&a);
        let idle = read();
        for line in [
            "workqueue_depth{name=\"q\"} 0.0\n",
            "workqueue_unfinished_work_seconds{name=\"q\"} 0.0\n",
            "workqueue_adds_total{name=\"q\"} 2\n",
            "workqueue_retries_total{name=\"q\"} 1\n",
            "workqueue_queue_duration_seconds_sum{name=\"q\"} 5.0\n",
            "workqueue_queue_duration_seconds_count{name=\"q\"} 2\n",
            "workqueue_work_duration_seconds_sum{name=\"q\"} 3.0\n",
            "workqueue_work_duration_seconds_count{name=\"q\"} 2\n",
        ] {
            assert!(idle.contains(line), "{line}{idle}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_delay_counts_and_failures_wait_longer() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after(key("c", "a"), Duration::from_secs(60));
        queue.add_after(key("c", "a"), Duration::from_secs(1));
        let a = queue.next().await;
        assert_eq!(start.elapsed().as_secs(), 1);
        queue.done(&a);
        let waited = tokio::time::timeout(Duration::from_secs(3600), queue.next()).await;
        assert!(waited.is_err(), "the later time was replaced");
        let pauses: Vec<_> = (0..3).map(|_| queue.add_failed(a.clone()).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20]);
        for _ in 0..40 {
            queue.add_failed(a.clone());
        }
        assert_eq!(queue.add_failed(a.clone()), BACKOFF_LAST);
    }
}
