//! Registers the node and keeps its status true.
//!
//! The status is looked at every ten seconds and written when it differs or after five minutes (upstream's periods);
//! until the node is Ready it is looked at often, because pods wait for it.

use super::facts::{self, Machine};
use super::object::{Live, differs, labels, node, status};
use crate::engine::Engine;
use crate::events::{Events, Level};
use crate::k8s::{Node, NodeStatus};
use crate::options::Options;
use base::{Clock, Shutdown};
use client::{Api, Client, Error, Patch};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const LOOK: Duration = Duration::from_secs(10);
const LOOK_UNREADY: Duration = Duration::from_millis(250);
const WRITE_ANYWAY: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_millis(500);
/// Below this much, a resource is short: upstream's default eviction thresholds.
const MIN_MEMORY: i64 = 100 << 20;
const MIN_DISK_PERCENT: u64 = 5;
/// On a big disk this much is enough: machines of the embedded cloud share their host's, where 5 % may be tens of gigabytes.
const ENOUGH_DISK: u64 = 2 << 30;
const MIN_PIDS: u64 = 512;

/// What the node's own task needs.
#[derive(Clone, Debug)]
pub struct NodeSync {
    /// Settings.
    pub options: Arc<Options>,
    /// The machine.
    pub machine: Arc<Machine>,
    /// The API server.
    pub client: Client,
    /// The runtime.
    pub engine: Engine,
    /// Wall clock.
    pub clock: Clock,
    /// Events.
    pub events: Events,
    /// Told whether the node is Ready.
    pub ready: watch::Sender<bool>,
}

impl NodeSync {
    /// Registers, then keeps the status until `shutdown`.
    pub async fn run(self, shutdown: Shutdown) {
        shutdown.run_until(self.work()).await;
    }

    async fn work(&self) {
        let api = Api::<Node>::all(&self.client);
        let mut last = loop {
            match self.register(&api).await {
                Ok(node) => break node,
                Err(error) => {
                    tracing::warn!("node not registered: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        self.events
            .node(&last, Level::Normal, "Starting", "Starting kubelet.");
        let mut written = tokio::time::Instant::now();
        let mut first = true;
        loop {
            let before = last.status.clone();
            let now = self.clock.now();
            let live = self.look().await;
            let wanted = status(&self.options, &self.machine, &live, before.as_ref(), now);
            let is_ready = live.health.as_ref().is_some_and(|h| h.runtime && h.network);
            let owned = before
                .as_ref()
                .map(|b| only_owned(b, &wanted))
                .unwrap_or_default();
            if first || differs(&owned, &wanted) || written.elapsed() >= WRITE_ANYWAY {
                match self.write(&api, &wanted).await {
                    Ok(node) => {
                        if self.ready.send_replace(is_ready) != is_ready {
                            let reason = if is_ready { "NodeReady" } else { "NodeNotReady" };
                            let text = format!("Node {} status is now: {reason}", self.options.node_name);
                            self.events.node(&node, Level::Normal, reason, text);
                        }
                        last = node;
                        written = tokio::time::Instant::now();
                        first = false;
                    }
                    Err(error) if error.is_not_found() => {
                        tracing::warn!("the node's object is gone; registering again");
                        if let Ok(node) = self.register(&api).await {
                            last = node;
                        }
                    }
                    Err(error) => tracing::warn!("node status not written: {error}"),
                }
            }
            tokio::time::sleep(if is_ready { LOOK } else { LOOK_UNREADY }).await;
        }
    }

    async fn register(&self, api: &Api<Node>) -> Result<Node, Error> {
        let live = self.look().await;
        let wanted = node(&self.options, &self.machine, &live, self.clock.now());
        if self.options.register {
            match api.create(&wanted).await {
                Ok(node) => return Ok(node),
                Err(e) if e.is_already_exists() => {}
                Err(e) => return Err(e),
            }
        }
        let have = api.get(&self.options.node_name).await?;
        let want = labels(&self.options, &self.machine);
        let own = have.metadata.labels.clone().unwrap_or_default();
        let missing: std::collections::BTreeMap<_, _> =
            want.into_iter().filter(|(k, v)| own.get(k) != Some(v)).collect();
        if missing.is_empty() {
            return Ok(have);
        }
        api.patch(
            &self.options.node_name,
            &Patch::Merge(json!({"metadata": {"labels": missing}})),
        )
        .await
    }

    async fn write(&self, api: &Api<Node>, wanted: &NodeStatus) -> Result<Node, Error> {
        let mut value = serde_json::to_value(wanted).map_err(|e| Error::Call(e.to_string()))?;
        // The addresses are a whole: one that is no longer ours must go.
        if let Some(list) = value.get_mut("addresses").and_then(|a| a.as_array_mut()) {
            list.insert(0, json!({"$patch": "replace"}));
        }
        api.patch_status(
            &self.options.node_name,
            &Patch::Strategic(json!({"status": value})),
        )
        .await
    }

    async fn look(&self) -> Live {
        let (health, about, images) =
            tokio::join!(self.engine.health(), self.engine.version(), self.engine.images());
        let memory = facts::memory_available() < MIN_MEMORY;
        let disk = facts::disk(&self.options.root_dir)
            .is_some_and(|(size, free)| free < (size / 100 * MIN_DISK_PERCENT).min(ENOUGH_DISK));
        let pids = facts::pids().is_some_and(|(most, now)| most.saturating_sub(now) < MIN_PIDS);
        let names = |i: cri::v1::Image| {
            (
                i.repo_digests.into_iter().chain(i.repo_tags).collect::<Vec<_>>(),
                i.size,
            )
        };
        Live {
            health: health.ok(),
            pressure: (memory, disk, pids),
            images: images
                .unwrap_or_default()
                .into_iter()
                .map(names)
                .filter(|(n, _)| !n.is_empty())
                .collect(),
            runtime_version: about
                .map(|a| format!("{}://{}", a.name, a.version.trim_start_matches('v')))
                .unwrap_or_default(),
        }
    }
}

/// Of a status in the API, the part that is the kubelet's: what controllers add must not look like a difference.
fn only_owned(have: &NodeStatus, wanted: &NodeStatus) -> NodeStatus {
    let mut conditions = Vec::new();
    for w in wanted.conditions.iter().flatten() {
        conditions.extend(
            have.conditions
                .iter()
                .flatten()
                .find(|c| c.type_ == w.type_)
                .cloned(),
        );
    }
    NodeStatus {
        addresses: have.addresses.clone(),
        capacity: have.capacity.clone(),
        allocatable: have.allocatable.clone(),
        conditions: Some(conditions),
        daemon_endpoints: have.daemon_endpoints.clone(),
        images: Some(have.images.clone().unwrap_or_default()),
        node_info: have.node_info.clone(),
        runtime_handlers: Some(have.runtime_handlers.clone().unwrap_or_default()),
        ..Default::default()
    }
}
