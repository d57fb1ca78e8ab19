//! ReplicaSets and ReplicationControllers: as many pods of a template as are wished.
//!
//! Both kinds are one controller over [`Replicated`]; only their types differ. Pods that match the selector and
//! belong to nobody are adopted, pods that stopped matching are released, then pods are created or deleted (500 in one
//! pass at most, in batches that double, so that a quota that refuses is asked once and not 500 times), then the status
//! is written.

mod kinds;
mod plan;

pub(crate) use kinds::Replicated;

use crate::common::claim::{claimed, controller_ref};
use crate::common::{Meta, Object, until};
use crate::kinds::{ObjectMeta, Pod, PodTemplateSpec};
use async_trait::async_trait;
use client::DeleteParams;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};
use std::marker::PhantomData;

/// See the module.
#[derive(Debug)]
pub(crate) struct Replicas<K>(PhantomData<fn() -> K>);

impl<K> Default for Replicas<K> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<K: Replicated> Controller for Replicas<K> {
    fn name(&self) -> &'static str {
        K::CONTROLLER
    }

    fn queue(&self) -> &'static str {
        K::QUEUE
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<K>().owns::<K, Pod>();
        w.maps::<Pod>(|caches, change| {
            // A pod that nobody manages may be adopted by whoever selects it.
            let Some(pod) = change.new.as_ref().filter(|p| p.header.controller().is_none()) else {
                return Vec::new();
            };
            let owners = caches.list::<K>(&change.cluster, Some(&pod.key.namespace), |_| true);
            let selects = |owner: &runtime::Entry| {
                owner
                    .decode::<K>()
                    .ok()
                    .and_then(|o| o.selector().ok())
                    .is_some_and(|s| pod.header.matches(&s))
            };
            owners
                .into_iter()
                .filter(|o| selects(o))
                .map(|o| o.key.clone())
                .collect()
        });
        w.writes::<Pod>(&["create", "delete", "patch"])
            .writes::<K>(&["update"]);
    }

    async fn reconcile(&self, cx: &Cx, _key: &Key) -> Result<Next, Error> {
        let Some(owner) = cx.this::<K>()? else {
            return Ok(Next::Done);
        };
        let selector = owner.selector().map_err(|e| Error::Invalid(e.to_string()))?;
        let pods: Vec<Pod> = claimed(cx, &owner, &selector).await?;
        let plan = plan::decide(&owner, &pods, cx.now());
        let failure = if owner.deleting() {
            Ok(())
        } else {
            act(cx, &owner, &plan).await
        };
        let told = failure.as_ref().err().map(|(reason, e)| (*reason, e.to_string()));
        let next = plan::status(&owner, &pods, told, cx.now());
        if next != owner.replica_status() || owner.observed_generation() != owner.generation() {
            let mut new = owner.clone();
            new.set_replica_status(next);
            cx.replace_status(&new).await?;
        }
        if let Err((_, error)) = failure {
            return Err(error.into());
        }
        Ok(plan
            .look_at
            .map_or(Next::Done, |at| Next::After(until(at, cx.now()))))
    }
}

/// A pod of a template, owned by `owner`.
pub(crate) fn pod_of<O: api::Object>(owner: &O, template: &PodTemplateSpec) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name())),
            namespace: owner.meta().namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

async fn act<K: Replicated>(
    cx: &Cx,
    owner: &K,
    plan: &plan::Plan,
) -> Result<(), (&'static str, client::Error)> {
    if plan.create > 0 {
        let pod = pod_of(owner, &owner.template());
        create_pods(cx, owner, std::iter::repeat_n(pod, plan.create).collect())
            .await
            .map_err(|e| ("FailedCreate", e))?;
    }
    for pod in &plan.delete {
        match cx.delete(pod, DeleteParams::default()).await {
            Ok(()) => cx.event(
                owner,
                EventType::Normal,
                "SuccessfulDelete",
                format!("Deleted pod: {}", pod.name()),
            ),
            Err(e) if e.is_conflict() => {}
            Err(e) => {
                cx.event(
                    owner,
                    EventType::Warning,
                    "FailedDelete",
                    format!("Error deleting: {e}"),
                );
                return Err(("FailedDelete", e));
            }
        }
    }
    Ok(())
}

/// Creates pods in batches of 1, 2, 4 and so on; stops at the first batch with an error. With events on the owner.
pub(crate) async fn create_pods<O: api::Object>(
    cx: &Cx,
    owner: &O,
    pods: Vec<Pod>,
) -> Result<(), client::Error> {
    let mut rest = pods.as_slice();
    let mut size = 1;
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(size.min(rest.len()));
        let made = futures::future::join_all(batch.iter().map(|pod| cx.create(pod))).await;
        let mut failed = None;
        for result in made {
            match result {
                Ok(pod) => {
                    cx.event(
                        owner,
                        EventType::Normal,
                        "SuccessfulCreate",
                        format!("Created pod: {}", pod.name()),
                    );
                }
                // The namespace is going away, and the owner with it.
                Err(e) if e.is_namespace_terminating() => return Ok(()),
                Err(e) => {
                    cx.event(
                        owner,
                        EventType::Warning,
                        "FailedCreate",
                        format!("Error creating: {e}"),
                    );
                    failed = Some(e);
                }
            }
        }
        if let Some(e) = failed {
            return Err(e);
        }
        rest = later;
        size *= 2;
    }
    Ok(())
}
