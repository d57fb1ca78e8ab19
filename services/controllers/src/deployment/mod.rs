//! Deployments: a ReplicaSet for each version of the template, and the way from one to the next.
//!
//! [`plan`] decides from the Deployment and its ReplicaSets what one pass does: make the new ReplicaSet, scale, write
//! revisions, drop old history. [`rollout`] holds the arithmetic of rolling updates and proportional scaling, and
//! [`status`] the counts and conditions that `kubectl rollout status` reads. A pass changes one thing at a time, as
//! upstream's does; the change itself brings the next pass.

mod plan;
mod rollout;
mod status;
mod view;

use crate::common::claim::claimed;
use crate::common::{Meta, Object, until};
use crate::kinds::{Deployment, Pod, ReplicaSet};
use async_trait::async_trait;
use client::DeleteParams;
use plan::Step;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Deployments;

#[async_trait]
impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn queue(&self) -> &'static str {
        "deployment"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Deployment>().owns::<Deployment, ReplicaSet>();
        w.maps::<ReplicaSet>(|caches, change| {
            let Some(rs) = change.new.as_ref().filter(|r| r.header.controller().is_none()) else {
                return Vec::new();
            };
            let all = caches.list::<Deployment>(&change.cluster, Some(&rs.key.namespace), |_| true);
            let selects = |d: &runtime::Entry| {
                let d = d.decode::<Deployment>().ok();
                let selector = d.and_then(|d| runtime::selector::of(Some(&d.spec.selector)).ok());
                selector.is_some_and(|s| rs.header.matches(&s))
            };
            all.into_iter()
                .filter(|d| selects(d))
                .map(|d| d.key.clone())
                .collect()
        });
        // Recreate waits until the old pods are gone.
        w.maps::<Pod>(|caches, change| {
            let (Some(old), None) = (&change.old, &change.new) else {
                return Vec::new();
            };
            let Some(rs) = old.header.controller().filter(|o| &*o.kind == "ReplicaSet") else {
                return Vec::new();
            };
            let rs = caches
                .of::<ReplicaSet>()
                .ok()
                .and_then(|c| c.get(&change.cluster, &old.key.namespace, &rs.name));
            let owner = rs
                .as_ref()
                .and_then(|rs| rs.header.controller().map(|o| o.name.clone()));
            owner
                .map(|name| Key::new(&change.cluster, &old.key.namespace, &name))
                .into_iter()
                .collect()
        });
        w.writes::<ReplicaSet>(&["create", "update", "delete", "patch"])
            .writes::<Deployment>(&["update"]);
    }

    async fn reconcile(&self, cx: &Cx, _key: &Key) -> Result<Next, Error> {
        let Some(deployment) = cx.this::<Deployment>()? else {
            return Ok(Next::Done);
        };
        let selector = runtime::selector::of(Some(&deployment.spec.selector))
            .map_err(|e| Error::Invalid(e.to_string()))?;
        if selector.is_everything() {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            cx.event(&deployment, EventType::Warning, "SelectingAll", text);
            return Ok(Next::Done);
        }
        let sets: Vec<ReplicaSet> = claimed(cx, &deployment, &selector).await?;
        let mut busy = false;
        for set in &sets {
            let pods: Vec<Pod> = cx.owned(set.uid())?;
            busy |=
                !plan::is_new(&deployment, set) && pods.iter().any(|p| !crate::common::pods::is_finished(p));
        }
        let plan = plan::decide(&deployment, &sets, busy, cx.now());
        for step in plan.steps {
            apply(cx, &deployment, step).await?;
        }
        if let Some(status) = plan.status {
            let mut new = cx.this::<Deployment>()?.unwrap_or(deployment);
            new.status = Some(status);
            cx.replace_status(&new).await?;
        }
        Ok(plan
            .look_at
            .map_or(Next::Done, |at| Next::After(until(at, cx.now()))))
    }
}

async fn apply(cx: &Cx, deployment: &Deployment, step: Step) -> Result<(), Error> {
    match step {
        Step::Create(set) => match cx.create(&*set).await {
            Ok(made) => {
                let replicas = view::replicas(&made);
                if replicas > 0 {
                    scaled(cx, deployment, made.name(), 0, replicas);
                }
            }
            Err(e) if e.is_already_exists() => {
                let found = cx.api::<ReplicaSet>(set.ns()).get(set.name()).await?;
                let mine = crate::common::claim::is_controlled_by(&found, deployment.uid());
                if mine && plan::is_new(deployment, &found) {
                    // Ours after all; the cache was late.
                    return Err(Error::NotYet(format!("waiting to see ReplicaSet {}", set.name())));
                }
                // Another template has the same hash: count it, and the next name is another one.
                let mut new = deployment.clone();
                let status = new.status.get_or_insert_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                cx.replace_status(&new).await?;
                return Err(Error::NotYet(format!("ReplicaSet name {} is taken", set.name())));
            }
            Err(e) => {
                if !e.is_namespace_terminating() {
                    let text = format!("Failed to create new replica set {:?}: {e}", set.name());
                    cx.event(deployment, EventType::Warning, "ReplicaSetCreateError", text);
                }
                return Err(e.into());
            }
        },
        Step::Update { set, from } => {
            let to = view::replicas(&set);
            let made = cx.replace(&*set).await?;
            if from != to {
                scaled(cx, deployment, made.name(), from, to);
            }
        }
        // Through the status, as upstream does it: an annotation written with the spec would count as a generation.
        Step::Revision(new) => {
            cx.replace_status(&*new).await?;
        }
        Step::Delete(set) => cx.delete(&*set, DeleteParams::background()).await?,
    }
    Ok(())
}

fn scaled(cx: &Cx, deployment: &Deployment, name: &str, from: i32, to: i32) {
    let direction = if to > from { "up" } else { "down" };
    let text = format!("Scaled {direction} replica set {name} from {from} to {to}");
    cx.event(deployment, EventType::Normal, "ScalingReplicaSet", text);
}
