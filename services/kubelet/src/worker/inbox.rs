//! What a pod worker is told between two steps. It coalesces, so that it is never longer than the pod has containers.

use crate::k8s::Pod;
use crate::probes::{Kind, Report};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Why the kubelet itself ends a pod: phase, reason, message.
pub type Imposed = (String, String, String);

/// News for a worker.
#[derive(Debug, Default)]
pub struct News {
    /// The pod changed.
    pub pod: Option<Arc<Pod>>,
    /// The runtime has something new about it.
    pub runtime: bool,
    /// Verdicts of probes, the newest of each.
    pub probes: BTreeMap<(String, Kind), Report>,
    /// The API has no such pod any more.
    pub removed: bool,
    /// The kubelet ends the pod.
    pub imposed: Option<Imposed>,
    /// Volumes should be brought up to date.
    pub refresh: bool,
}

/// A worker's inbox. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<(Mutex<News>, Notify)>);

impl Inbox {
    /// Adds news and wakes the worker.
    pub fn tell(&self, add: impl FnOnce(&mut News)) {
        add(&mut self.0.0.lock());
        self.0.1.notify_one();
    }

    /// Takes all news.
    pub fn take(&self) -> News {
        std::mem::take(&mut self.0.0.lock())
    }

    /// Waits for news.
    pub async fn wait(&self) {
        self.0.1.notified().await;
    }
}
