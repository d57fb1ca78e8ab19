//! Many watchers of one namespace, and when they got what.

use crate::pods::number_in;
use anyhow::{Context, Result, ensure};
use bench::{Access, Call, Door, Histogram, JSON};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How many there are.
pub(crate) const WATCHERS: u64 = 100;

/// What was sent, and what the watchers have got of it.
pub(crate) struct Seen {
    epoch: Instant,
    /// When the write about a pod was sent, in nanoseconds since `epoch`; by the pod's number.
    sent: Vec<AtomicU64>,
    /// Events of all watchers.
    pub(crate) count: AtomicU64,
}

impl Seen {
    /// Notes that a write is being sent.
    pub(crate) fn sent(&self, call: &Call) {
        let number = number_in(&call.body).or_else(|| number_in(call.path.as_bytes()));
        if let Some(slot) = number.and_then(|n| self.sent.get(n)) {
            slot.store(self.epoch.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

/// The watchers, a connection each.
pub(crate) struct Watched {
    /// What they share.
    pub(crate) seen: Arc<Seen>,
    latencies: Arc<Vec<Mutex<Histogram>>>,
    _tasks: JoinSet<()>,
}

impl Watched {
    /// Connects them all.
    pub(crate) async fn start(access: &Access, namespace: &str) -> Result<Self> {
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let door = Door::open(access).await?;
        let list = door.call(Call::get(format!("{pods}?limit=1"), JSON)).await?;
        let list: Value = serde_json::from_slice(&list)?;
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .context("a list without a version")?;
        let path = format!("{pods}?watch=1&allowWatchBookmarks=true&resourceVersion={version}");
        let seen = Arc::new(Seen {
            epoch: Instant::now(),
            sent: (0..1 << 16).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
        });
        let latencies: Arc<Vec<Mutex<Histogram>>> =
            Arc::new((0..WATCHERS).map(|_| Mutex::default()).collect());
        let mut tasks = JoinSet::new();
        for n in 0..WATCHERS as usize {
            let door = Door::open(access).await?;
            let answer = door.send(Call::get(path.clone(), JSON)).await?;
            ensure!(answer.status().is_success(), "{path}: {}", answer.status());
            let (seen, latencies) = (seen.clone(), latencies.clone());
            tasks.spawn(async move {
                let _open = door;
                read_events(answer.into_body(), &seen, &latencies[n]).await;
            });
        }
        Ok(Self {
            seen,
            latencies,
            _tasks: tasks,
        })
    }

    /// Forgets what came so far.
    pub(crate) fn begin(&self) {
        self.seen.count.store(0, Ordering::Relaxed);
        for slot in self.latencies.iter() {
            *slot.lock() = Histogram::default();
        }
    }

    /// From a write until a watcher had it, of all watchers.
    pub(crate) fn latency(&self) -> Histogram {
        let mut all = Histogram::default();
        for slot in self.latencies.iter() {
            all.merge(&slot.lock());
        }
        all
    }
}

/// Takes events from one watch until it ends: a line each.
async fn read_events(mut body: Incoming, seen: &Seen, latency: &Mutex<Histogram>) {
    let mut rest: Vec<u8> = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let now = seen.epoch.elapsed();
        let (mut from, mut events) = (0, 0);
        for end in memchr::memchr_iter(b'\n', &data) {
            let number = if rest.is_empty() {
                number_in(&data[from..end])
            } else {
                rest.extend_from_slice(&data[from..end]);
                number_in(&rest)
            };
            rest.clear();
            from = end + 1;
            // A bookmark names no pod.
            let Some(number) = number else { continue };
            events += 1;
            let sent = seen.sent.get(number).map_or(0, |s| s.load(Ordering::Relaxed));
            latency
                .lock()
                .record(now.saturating_sub(Duration::from_nanos(sent)));
        }
        rest.extend_from_slice(&data[from..]);
        seen.count.fetch_add(events, Ordering::Relaxed);
    }
}
