//! DaemonSets: one pod on each node that suits.
//!
//! A pod is made for a node by a required affinity to its name, and the scheduler binds it, as upstream does, so that
//! priorities and preemption hold for daemons too. Updates go node by node: within `maxUnavailable` the old pod goes
//! first, with `maxSurge` the new one comes first. The history is kept in ControllerRevisions.

mod plan;

use crate::common::claim::claimed;
use crate::common::revisions::{self, POD_HASH};
use crate::common::{Meta, Object, until};
use crate::kinds::{ControllerRevision, DaemonSet, Node, Pod};
use async_trait::async_trait;
use client::DeleteParams;
use parking_lot::Mutex;
use plan::Backoff;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DaemonSets {
    backoff: Mutex<Backoff>,
}

#[async_trait]
impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn queue(&self) -> &'static str {
        "daemonset"
    }

    fn account(&self) -> &'static str {
        "daemon-set-controller"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<DaemonSet>()
            .owns::<DaemonSet, Pod>()
            .owns::<DaemonSet, ControllerRevision>();
        w.maps::<Node>(|caches, change| {
            let sight = |e: &Option<Arc<runtime::Entry>>| {
                let node = e.as_ref().and_then(|e| e.decode::<Node>().ok());
                node.map(|n| (n.metadata.labels, n.spec.and_then(|s| s.taints)))
            };
            if sight(&change.old) == sight(&change.new) {
                return Vec::new();
            }
            caches
                .list::<DaemonSet>(&change.cluster, None, |_| true)
                .iter()
                .map(|d| d.key.clone())
                .collect()
        });
        w.writes::<Pod>(&["create", "delete", "patch"])
            .writes::<DaemonSet>(&["update"]);
        w.writes::<ControllerRevision>(&["create", "update", "delete", "patch"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(set) = cx.this::<DaemonSet>()? else {
            return Ok(Next::Done);
        };
        let selector =
            runtime::selector::of(Some(&set.spec.selector)).map_err(|e| Error::Invalid(e.to_string()))?;
        if selector.is_everything() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            cx.event(&set, EventType::Warning, "SelectingAll", text);
            return Ok(Next::Done);
        }
        if set.deleting() {
            return Ok(Next::Done);
        }
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let history = revisions::sync(cx, &set, &set.spec.template, &selector, POD_HASH, collisions).await?;
        let hash = history.newest()?.label(POD_HASH).unwrap_or("").to_string();
        let pods: Vec<Pod> = claimed(cx, &set, &selector).await?;
        let nodes: Vec<Node> = cx.list(None)?;
        let plan = {
            let mut backoff = self.backoff.lock();
            plan::decide(&set, &nodes, &pods, &hash, (key, &mut backoff), cx.now())
        };
        for pod in &plan.failed {
            let node = plan::target(pod).unwrap_or_default();
            let text = format!(
                "Found failed daemon pod {}/{} on node {node}, will try to kill it",
                pod.namespace(),
                pod.name()
            );
            cx.event(&set, EventType::Warning, "FailedDaemonPod", text);
        }
        for pod in &plan.delete {
            cx.delete(pod, DeleteParams::default()).await?;
            cx.event(
                &set,
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted pod: {}", pod.name()),
            );
        }
        let new = plan
            .create
            .iter()
            .map(|node| plan::pod(&set, node, &hash))
            .collect();
        crate::replicaset::create_pods(cx, &set, new).await?;
        revisions::trim(cx, &history, set.spec.revision_history_limit, |r| {
            pods.iter().any(|p| p.label(POD_HASH) == r.label(POD_HASH))
        })
        .await?;
        let mut status = plan.status;
        status.collision_count = history.collisions;
        if set.status.as_ref() != Some(&status) {
            let mut new = set.clone();
            new.status = Some(status);
            cx.replace_status(&new).await?;
        }
        Ok(plan
            .look_at
            .map_or(Next::Done, |at| Next::After(until(at, cx.now()))))
    }
}
