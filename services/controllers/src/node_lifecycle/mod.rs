//! Nodes that stop reporting: their conditions become Unknown, they are tainted, and their pods are marked not ready.
//!
//! A kubelet proves that it lives by renewing its Lease (and by its status). What counts is that the Lease *changes*, by our
//! clock: nodes' clocks are not believed. After 40 s without a change the node's conditions are Unknown. Conditions
//! and `spec.unschedulable` become taints; [`crate::taint_eviction`] removes pods that do not tolerate them. When
//! most of a zone fails at once, it is more likely the network than the nodes, and tainting NoExecute slows down
//! or stops ([`plan::eviction_rate`]).

mod plan;

use crate::common::{Object, conditions, pods};
use crate::kinds::{Lease, Node, Pod, Time};
use async_trait::async_trait;
use base::ClusterId;
use client::Patch;
use jiff::Timestamp;
use parking_lot::Mutex;
use runtime::header::POD_NODE;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

/// Where kubelets keep their Leases.
const LEASES: &str = "kube-node-lease";
/// How often a node is looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// The last sign of life of a node.
#[derive(Clone, Debug)]
struct Sign {
    /// What the Lease and the status said.
    mark: (Option<String>, Option<Timestamp>),
    /// When we saw it change.
    seen: Timestamp,
}

/// See the module. Keys are nodes.
#[derive(Debug)]
pub(crate) struct NodeLifecycle {
    /// How long a node may be silent.
    grace: Duration,
    signs: Mutex<HashMap<Key, Sign>>,
    tainted: Mutex<HashMap<(ClusterId, String), plan::Bucket>>,
}

impl NodeLifecycle {
    /// With the time that a node may be silent (upstream's `--node-monitor-grace-period`).
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            signs: Mutex::default(),
            tainted: Mutex::default(),
        }
    }

    /// How long the node has been silent.
    fn silence(&self, key: &Key, node: &Node, lease: Option<&Lease>, now: Timestamp) -> Duration {
        let renewed = lease
            .and_then(|l| l.spec.as_ref())
            .and_then(|s| s.renew_time.as_ref());
        let status = node.status.as_ref();
        let ready = status.and_then(|s| conditions::find(&s.conditions, "Ready"));
        let mark = (
            renewed.map(|t| t.0.to_string()),
            ready.and_then(|c| c.last_heartbeat_time.as_ref()).map(|t| t.0),
        );
        let mut signs = self.signs.lock();
        let sign = signs.entry(key.clone()).or_insert_with(|| Sign {
            mark: mark.clone(),
            seen: now,
        });
        if sign.mark != mark {
            *sign = Sign { mark, seen: now };
        }
        Duration::try_from(now.duration_since(sign.seen)).unwrap_or_default()
    }

    /// Whether one more node of a zone may get a NoExecute taint now.
    fn may_evict(&self, cx: &Cx, node: &Node) -> Result<bool, Error> {
        let mut zones: HashMap<String, (usize, usize)> = HashMap::new();
        for other in cx.list::<Node>(None)? {
            let (ready, total) = zones.entry(plan::zone(&other)).or_default();
            *total += 1;
            *ready += usize::from(plan::is_ready(&other));
        }
        let rate = plan::eviction_rate(&zones, &plan::zone(node));
        let mut buckets = self.tainted.lock();
        let bucket = buckets
            .entry((cx.cluster().clone(), plan::zone(node)))
            .or_default();
        Ok(bucket.take(rate, cx.now()))
    }
}

#[async_trait]
impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn queue(&self) -> &'static str {
        "node_lifecycle_controller"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Node>().reads::<Lease>().indexed::<Pod>(&POD_NODE);
        w.writes::<Node>(&["update", "patch"]).writes::<Pod>(&["patch"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(mut node) = cx.this::<Node>()? else {
            self.signs.lock().remove(key);
            return Ok(Next::Done);
        };
        let lease: Option<Lease> = cx.get(LEASES, &key.name)?;
        let silence = self.silence(key, &node, lease.as_ref(), cx.now());
        if silence >= self.grace {
            let was_ready = plan::is_ready(&node);
            if let Some(status) = plan::unknown(&node, cx.now()) {
                node.status = Some(status);
                node = cx.replace_status(&node).await?;
            }
            if was_ready {
                let text = format!("Node {} status is now: NodeNotReady", node.name());
                cx.event(&node, EventType::Normal, "NodeNotReady", text);
            }
        }
        if !plan::is_ready(&node) {
            mark_pods(cx, &node).await?;
        }
        let wanted = plan::taints(&node, cx.now(), || self.may_evict(cx, &node))?;
        if let Some(taints) = wanted {
            let spec = node.spec.get_or_insert_default();
            spec.taints = (!taints.is_empty()).then_some(taints);
            cx.replace(&node).await?;
        }
        Ok(Next::After(PERIOD))
    }
}

/// Pods of a node that is not ready are not ready either, so that Services stop sending to them.
async fn mark_pods(cx: &Cx, node: &Node) -> Result<(), Error> {
    for pod in cx.by_field::<Pod>(&POD_NODE, node.name())? {
        if !pods::is_ready(&pod) {
            continue;
        }
        let now = Time(cx.now());
        let patch = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "False", "lastTransitionTime": base::clock::rfc3339(now.0),
        }]}});
        match cx
            .patch_status::<Pod>(pod.namespace(), pod.name(), &Patch::Strategic(patch))
            .await
        {
            Ok(_) => cx.event(&pod, EventType::Warning, "NodeNotReady", "Node is not ready"),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
