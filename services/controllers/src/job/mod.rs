//! Jobs: pods that run to their end, counted exactly once.
//!
//! Each pod carries the finalizer `batch.kubernetes.io/job-tracking`, so that its end is never missed. Counting goes in
//! three writes: the pod's uid goes into `status.uncountedTerminatedPods`, then the pod loses the finalizer, and when
//! that shows the uid becomes a number. A crash between any two repeats nothing and loses nothing. Indexed Jobs need no
//! list: an index is complete or it is not.

mod indexes;
mod plan;
mod pod;
mod policy;

pub(crate) use plan::is_finished;

use crate::common::claim::{claimed, controller_of};
use crate::common::{Meta, Object, until};
use crate::kinds::{Job, Pod};
use async_trait::async_trait;
use client::{DeleteParams, Patch};
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};
use serde_json::json;

/// What keeps a pod until it is counted.
pub(crate) const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Jobs;

#[async_trait]
impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn queue(&self) -> &'static str {
        "job"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Job>().owns::<Job, Pod>();
        w.writes::<Pod>(&["create", "delete", "patch"])
            .writes::<Job>(&["update"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(job) = cx.this::<Job>()? else {
            return forgotten(cx, key).await;
        };
        let managed = job.spec.as_ref().and_then(|s| s.managed_by.as_deref());
        if managed.is_some_and(|m| m != "kubernetes.io/job-controller") {
            return Ok(Next::Done);
        }
        let selector = runtime::selector::of(job.spec.as_ref().and_then(|s| s.selector.as_ref()))
            .map_err(|e| Error::Invalid(e.to_string()))?;
        let pods: Vec<Pod> = claimed(cx, &job, &selector).await?;
        let plan = plan::decide(&job, &pods, cx.now());
        // What is to be counted is written down before anything loses its finalizer.
        if job.status.as_ref() != Some(&plan.status) && !job.deleting() {
            let mut new = job.clone();
            new.status = Some(plan.status);
            cx.replace_status(&new).await?;
        }
        for (kind, reason, message) in plan.events {
            cx.event(&job, kind, &reason, message);
        }
        for pod in &plan.release {
            release(cx, pod).await?;
        }
        for pod in &plan.delete {
            release(cx, pod).await?;
            cx.delete(pod, DeleteParams::default()).await?;
            cx.event(
                &job,
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted pod: {}", pod.name()),
            );
        }
        crate::replicaset::create_pods(cx, &job, plan.create).await?;
        Ok(plan
            .look_at
            .map_or(Next::Done, |at| Next::After(until(at, cx.now()))))
    }
}

/// Lets a pod go.
async fn release(cx: &Cx, pod: &Pod) -> Result<(), Error> {
    if !pod.has_finalizer(TRACKING) {
        return Ok(());
    }
    let patch =
        json!({ "metadata": { "uid": pod.uid(), "$deleteFromPrimitiveList/finalizers": [TRACKING] } });
    match cx
        .patch::<Pod>(pod.namespace(), pod.name(), &Patch::Strategic(patch))
        .await
    {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Pods of a Job that does not exist any more.
async fn forgotten(cx: &Cx, key: &Key) -> Result<Next, Error> {
    let left: Vec<Pod> = cx.list_where(Some(&key.namespace), |e| {
        e.header.has_finalizer(TRACKING)
            && e.header
                .controller()
                .is_some_and(|o| &*o.kind == "Job" && *o.name == *key.name)
    })?;
    if left.is_empty() || cx.api::<Job>(&key.namespace).get_opt(&key.name).await?.is_some() {
        return Ok(Next::Done);
    }
    for pod in left.iter().filter(|p| controller_of(*p).is_some()) {
        release(cx, pod).await?;
    }
    Ok(Next::Done)
}
