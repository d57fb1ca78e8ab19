//! Pods that nobody else cleans up: bound to a node that is gone, being deleted without ever having had a node, or
//! finished and too many.
//!
//! A node's absence is believed only after 40 s and a look at the server, because nodes are made anew under their name.

use crate::common::{Meta, Object, pods};
use crate::kinds::{Node, Pod};
use async_trait::async_trait;
use client::{DeleteParams, Patch};
use runtime::header::{FieldPath, POD_NODE};
use runtime::{Controller, Cx, Error, Key, Next, Wiring};
use serde_json::json;
use std::time::Duration;

/// Finished pods that a cluster may keep (upstream's `--terminated-pod-gc-threshold`).
const FINISHED: usize = 12_500;
/// How long a node has to be gone.
const QUARANTINE: Duration = Duration::from_secs(40);

const PHASE: FieldPath = FieldPath {
    name: "status.phase",
    proto: &[3, 1],
    json: &["status", "phase"],
};

/// See the module. Keys are pods, and nodes as `node/<name>` without a namespace.
#[derive(Debug, Default)]
pub(crate) struct PodGc;

#[async_trait]
impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn queue(&self) -> &'static str {
        "orphaned_pods_nodes"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Pod>()
            .indexed::<Pod>(&POD_NODE)
            .indexed::<Pod>(&PHASE);
        w.maps::<Node>(|_, change| {
            let key = &change.entry().key;
            change
                .new
                .is_none()
                .then(|| Key::new(&change.cluster, "", &key.name))
                .into_iter()
                .collect()
        });
        w.writes::<Pod>(&["delete", "patch"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        if key.namespace.is_empty() {
            return orphans(cx, &key.name).await;
        }
        let Some(pod) = cx.this::<Pod>()? else {
            return Ok(Next::Done);
        };
        match pods::node(&pod) {
            None if pod.deleting() => {
                cx.delete(&pod, DeleteParams::now()).await?;
                Ok(Next::Done)
            }
            Some(node) if cx.caches().of::<Node>()?.get(cx.cluster(), "", node).is_none() => {
                orphans(cx, node).await
            }
            _ if pods::is_finished(&pod) => surplus(cx).await,
            _ => Ok(Next::Done),
        }
    }
}

/// Pods of a node that is gone.
async fn orphans(cx: &Cx, node: &str) -> Result<Next, Error> {
    if cx.get::<Node>("", node)?.is_some() {
        return Ok(Next::Done);
    }
    let bound: Vec<Pod> = cx.by_field(&POD_NODE, node)?;
    let since = bound
        .iter()
        .filter_map(|p| p.metadata.deletion_timestamp.as_ref().map(|t| t.0))
        .max();
    let newest = bound.iter().map(Meta::created).max().max(since);
    let Some(newest) = newest else {
        return Ok(Next::Done);
    };
    let ripe = newest.saturating_add(jiff::SignedDuration::try_from(QUARANTINE).unwrap_or_default());
    if let Ok(ripe) = ripe
        && ripe > cx.now()
    {
        return Ok(Next::After(crate::common::until(ripe, cx.now())));
    }
    if cx.api::<Node>("").get_opt(node).await?.is_some() {
        return Ok(Next::After(QUARANTINE));
    }
    for pod in bound {
        remove(cx, &pod, "PodGC: node no longer exists").await?;
    }
    Ok(Next::Done)
}

async fn remove(cx: &Cx, pod: &Pod, why: &str) -> Result<(), Error> {
    if !pods::is_finished(pod) {
        let patch = json!({ "status": { "phase": "Failed", "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": why,
            "lastTransitionTime": base::clock::rfc3339(cx.now()),
        }]}});
        match cx
            .patch_status::<Pod>(pod.namespace(), pod.name(), &Patch::Strategic(patch))
            .await
        {
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
    }
    Ok(cx.delete(pod, DeleteParams::now()).await?)
}

/// Finished pods over the limit, oldest first.
async fn surplus(cx: &Cx) -> Result<Next, Error> {
    let cache = cx.caches().of::<Pod>()?;
    let count = |phase| cache.by_field(cx.cluster(), &PHASE, phase).len();
    let finished = count("Succeeded") + count("Failed");
    if finished <= FINISHED {
        return Ok(Next::Done);
    }
    let mut all: Vec<Pod> = cx.by_field(&PHASE, "Succeeded")?;
    all.extend(cx.by_field::<Pod>(&PHASE, "Failed")?);
    all.sort_by_key(|p| (p.created(), p.uid().to_string()));
    for pod in all.iter().take(finished - FINISHED) {
        cx.delete(pod, DeleteParams::now()).await?;
    }
    Ok(Next::Done)
}
