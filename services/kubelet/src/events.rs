//! Events about pods and the node, as `kubectl describe` shows them.
//!
//! Recording never waits: a bounded channel leads to one task, which counts repetitions on the first event. Not the
//! controllers' recorder: a kubelet's events name the container (`involvedObject.fieldPath`) and the host.

use crate::k8s::{Event, EventSource, Node, ObjectMeta, ObjectReference, Pod, Time};
use base::{Clock, Shutdown};
use client::{Api, Client, Patch};
use serde_json::json;
use std::collections::HashMap;
use tokio::sync::mpsc;

/// Events that may wait; more are dropped.
const WAITING: usize = 1024;
/// First events that are remembered to be counted up.
const REMEMBERED: usize = 2048;
/// Repetitions of one event that are written; the rest only counts (upstream's filter: 25, then one in five minutes).
const BURST: i32 = 25;

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// All is well.
    Normal,
    /// Someone should look.
    Warning,
}

#[derive(Debug)]
struct Item {
    about: ObjectReference,
    level: Level,
    reason: &'static str,
    message: String,
    at: jiff::Timestamp,
}

/// The way in. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Item>,
    clock: Clock,
}

/// The task that writes.
#[derive(Debug)]
pub struct EventsTask {
    receiver: mpsc::Receiver<Item>,
    client: Client,
    node: String,
}

impl Events {
    /// A recorder and the task to run for it.
    pub fn new(client: Client, node: &str, clock: Clock) -> (Self, EventsTask) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (
            Self { sender, clock },
            EventsTask {
                receiver,
                client,
                node: node.to_owned(),
            },
        )
    }

    fn send(&self, about: ObjectReference, level: Level, reason: &'static str, message: String) {
        let subject = about.name.as_deref().unwrap_or_default();
        match level {
            Level::Normal => tracing::debug!(subject, reason, "{message}"),
            Level::Warning => tracing::warn!(subject, reason, "{message}"),
        }
        // The limit of core/v1 validation.
        let message = message.chars().take(1024).collect();
        if self
            .sender
            .try_send(Item {
                about,
                level,
                reason,
                message,
                at: self.clock.now(),
            })
            .is_err()
        {
            tracing::debug!(reason, "too many events wait; one was dropped");
        }
    }

    /// About a pod, or one of its containers.
    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        level: Level,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let m = &pod.metadata;
        let is_init = container.is_some_and(|c| {
            pod.spec
                .iter()
                .flat_map(|s| s.init_containers.iter().flatten())
                .any(|i| i.name == c)
        });
        let list = if is_init { "initContainers" } else { "containers" };
        let about = ObjectReference {
            kind: Some("Pod".to_owned()),
            api_version: Some("v1".to_owned()),
            namespace: m.namespace.clone(),
            name: m.name.clone(),
            uid: m.uid.clone(),
            resource_version: m.resource_version.clone(),
            field_path: container.map(|c| format!("spec.{list}{{{c}}}")),
        };
        self.send(about, level, reason, message.into());
    }

    /// About the node.
    pub fn node(&self, node: &Node, level: Level, reason: &'static str, message: impl Into<String>) {
        let name = node.metadata.name.clone();
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            // Upstream's habit, by which describe finds them: the node's name.
            uid: name.clone(),
            name,
            ..Default::default()
        };
        self.send(about, level, reason, message.into());
    }
}

impl EventsTask {
    /// Writes until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut known: HashMap<(String, String, String, String), (String, i32)> = HashMap::new();
        while let Some(Some(item)) = shutdown.run_until(self.receiver.recv()).await {
            let namespace = item
                .about
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned());
            let key = (
                item.about.uid.clone().unwrap_or_default(),
                item.about.field_path.clone().unwrap_or_default(),
                item.reason.to_owned(),
                item.message.clone(),
            );
            if known.len() >= REMEMBERED {
                known.clear();
            }
            let api = Api::<Event>::namespaced(&self.client, &namespace);
            if let Some((name, count)) = known.get_mut(&key) {
                *count += 1;
                if *count > BURST {
                    continue;
                }
                let patch = json!({"count": *count, "lastTimestamp": base::clock::rfc3339(item.at)});
                match api.patch(name, &Patch::Merge(patch)).await {
                    Ok(_) => continue,
                    Err(e) if e.is_not_found() => {}
                    Err(e) => {
                        tracing::debug!(reason = item.reason, "event not counted: {e}");
                        continue;
                    }
                }
            }
            let event = self.event(&item, &namespace);
            let name = event.metadata.name.clone().unwrap_or_default();
            match api.create(&event).await {
                Ok(_) => drop(known.insert(key, (name, 1))),
                Err(e) => tracing::debug!(reason = item.reason, "event not written: {e}"),
            }
        }
    }

    fn event(&self, item: &Item, namespace: &str) -> Event {
        let stamp = item.at.as_nanosecond();
        let subject = item.about.name.as_deref().unwrap_or_default();
        let level = match item.level {
            Level::Normal => "Normal",
            Level::Warning => "Warning",
        };
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{subject}.{stamp:x}")),
                namespace: Some(namespace.to_owned()),
                ..Default::default()
            },
            involved_object: item.about.clone(),
            reason: Some(item.reason.to_owned()),
            message: Some(item.message.clone()),
            type_: Some(level.to_owned()),
            count: Some(1),
            first_timestamp: Some(Time(item.at)),
            last_timestamp: Some(Time(item.at)),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            ..Default::default()
        }
    }
}
