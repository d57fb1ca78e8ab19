//! Events about objects (`core/v1` Event), as `kubectl describe` shows them.
//!
//! Recording never waits: events go through a bounded channel to one task for all clusters, and are dropped when it is
//! full. The same event again only counts up the first one, and an object that causes too many is cut off (client-go's
//! correlator: a burst of 25, then one in five minutes).

use crate::clients::{Clients, Identity};
use api::Object;
use base::clock::rfc3339;
use base::{Clock, ClusterId, Shutdown};
use client::{DynApi, Patch, Resource};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Events that may wait.
const WAITING: usize = 4096;
/// Events and objects that are remembered.
const REMEMBERED: usize = 8192;
/// client-go's spam filter.
const BURST: f64 = 25.0;
const PER_SECOND: f64 = 1.0 / 300.0;

/// `type` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

impl EventType {
    fn text(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Debug)]
struct Event {
    cluster: ClusterId,
    component: &'static str,
    account: &'static str,
    about: Value,
    namespace: String,
    kind: EventType,
    reason: String,
    message: String,
    at: jiff::Timestamp,
}

/// The way in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    sender: mpsc::Sender<Event>,
    clock: Clock,
}

/// The task that writes.
pub struct RecorderTask {
    receiver: mpsc::Receiver<Event>,
    clients: Arc<dyn Clients>,
    role: &'static str,
    known: Mutex<HashMap<u64, Known>>,
    sources: HashMap<u64, Bucket>,
}

impl std::fmt::Debug for RecorderTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecorderTask").finish_non_exhaustive()
    }
}

struct Known {
    name: String,
    count: i64,
}

struct Bucket {
    left: f64,
    at: jiff::Timestamp,
}

impl Bucket {
    fn take(&mut self, now: jiff::Timestamp) -> bool {
        let passed = now.duration_since(self.at).as_secs_f64().max(0.0);
        self.at = now;
        self.left = (self.left + passed * PER_SECOND).min(BURST);
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

impl Recorder {
    /// A recorder and the task that has to be run for it. `role` is the user agent of the writes.
    pub fn new(clients: Arc<dyn Clients>, role: &'static str, clock: Clock) -> (Self, RecorderTask) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let task = RecorderTask {
            receiver,
            clients,
            role,
            known: Mutex::default(),
            sources: HashMap::new(),
        };
        (Self { sender, clock }, task)
    }

    /// Records an event about an object, as a component that acts under an account.
    pub fn event<K: Object>(
        &self,
        cluster: &ClusterId,
        (component, account): (&'static str, &'static str),
        about: &K,
        kind: EventType,
        reason: &str,
        message: String,
    ) {
        let meta = about.meta();
        let version = if K::GROUP.is_empty() {
            K::VERSION.to_string()
        } else {
            format!("{}/{}", K::GROUP, K::VERSION)
        };
        let namespace = meta.namespace.clone().unwrap_or_default();
        let about = json!({
            "kind": K::KIND,
            "apiVersion": version,
            "namespace": namespace,
            "name": meta.name,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        });
        let event = Event {
            cluster: cluster.clone(),
            component,
            account,
            about,
            namespace: if namespace.is_empty() {
                "default".into()
            } else {
                namespace
            },
            kind,
            reason: reason.into(),
            // The limit of core/v1 validation.
            message: message.chars().take(1024).collect(),
            at: self.clock.now(),
        };
        if self.sender.try_send(event).is_err() {
            tracing::debug!("too many events wait; one was dropped");
        }
    }
}

fn hash(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

impl RecorderTask {
    /// Writes events until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        while let Some(Some(event)) = shutdown.run_until(self.receiver.recv()).await {
            let uid = event.about["uid"].as_str().unwrap_or("").to_string();
            let source = hash(&[event.cluster.as_str(), event.component, &uid]);
            if self.sources.len() > REMEMBERED {
                self.sources.clear();
            }
            let bucket = self.sources.entry(source).or_insert(Bucket {
                left: BURST,
                at: event.at,
            });
            if !bucket.take(event.at) {
                continue;
            }
            if let Err(error) = self.write(&event, &uid).await {
                tracing::debug!(cluster = %event.cluster, reason = event.reason, %error, "an event was not written");
            }
        }
    }

    async fn write(&self, event: &Event, uid: &str) -> Result<(), client::Error> {
        let same = hash(&[
            event.cluster.as_str(),
            event.component,
            uid,
            event.kind.text(),
            &event.reason,
            &event.message,
        ]);
        let identity = Identity {
            role: self.role,
            component: event.account,
        };
        let client = self.clients.client(&event.cluster, &identity, None);
        let resource = Resource {
            group: "".into(),
            version: "v1".into(),
            kind: "Event".into(),
            plural: "events".into(),
            namespaced: true,
        };
        let api = DynApi::new(&client, resource, Some(&event.namespace));
        let now = rfc3339(event.at);
        let earlier = {
            let mut known = self.known.lock();
            known.get_mut(&same).map(|k| {
                k.count += 1;
                (k.name.clone(), k.count)
            })
        };
        if let Some((name, count)) = earlier {
            let patch = Patch::Merge(json!({ "count": count, "lastTimestamp": now }));
            match api.patch(&name, "", &patch).await {
                // It has expired: write a new one.
                Err(e) if e.is_not_found() => {}
                other => return other.map(drop),
            }
        }
        let stem = event.about["name"].as_str().unwrap_or("object");
        let name = format!(
            "{stem}.{:016x}",
            event.at.as_nanosecond() as u64 ^ same.rotate_left(7)
        );
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": event.namespace },
            "involvedObject": event.about,
            "reason": event.reason,
            "message": event.message,
            "type": event.kind.text(),
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": { "component": event.component },
            "reportingComponent": event.component,
            "reportingInstance": "",
        });
        if object["involvedObject"]["namespace"] == "" {
            object["involvedObject"]
                .as_object_mut()
                .map(|o| o.remove("namespace"));
        }
        api.create(&object).await?;
        let mut known = self.known.lock();
        if known.len() > REMEMBERED {
            known.clear();
        }
        known.insert(same, Known { name, count: 1 });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_causes_too_many_events_is_cut_off_for_a_while() {
        let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut bucket = Bucket {
            left: BURST,
            at: start,
        };
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 25);
        assert!(!bucket.take(start + jiff::SignedDuration::from_secs(200)));
        assert!(bucket.take(start + jiff::SignedDuration::from_secs(301)));
    }
}
