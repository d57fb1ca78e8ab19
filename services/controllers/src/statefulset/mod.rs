//! StatefulSets: pods with names, volumes and an order.
//!
//! [`plan`] looks at the pods by ordinal and says what one pass does: usually one thing, since with `OrderedReady` each
//! pod waits for the one before it. [`identity`] holds what makes a pod that very pod: its name, host name, labels and
//! claims. Revisions of the template are kept in ControllerRevisions; `partition` keeps lower ordinals at the old one.

mod identity;
mod plan;

use crate::common::claim::claimed;
use crate::common::revisions::{self, HASH, POD_HASH};
use crate::common::{Meta, Object, until};
use crate::kinds::{ControllerRevision, PersistentVolumeClaim, Pod, StatefulSet};
use async_trait::async_trait;
use client::DeleteParams;
use plan::Step;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct StatefulSets;

#[async_trait]
impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn queue(&self) -> &'static str {
        "statefulset"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<StatefulSet>()
            .owns::<StatefulSet, Pod>()
            .owns::<StatefulSet, ControllerRevision>();
        w.reads::<PersistentVolumeClaim>();
        w.writes::<Pod>(&["create", "delete", "update", "patch"])
            .writes::<StatefulSet>(&["update"]);
        w.writes::<PersistentVolumeClaim>(&["create", "update"]);
        w.writes::<ControllerRevision>(&["create", "update", "delete", "patch"]);
    }

    async fn reconcile(&self, cx: &Cx, _key: &Key) -> Result<Next, Error> {
        let Some(set) = cx.this::<StatefulSet>()? else {
            return Ok(Next::Done);
        };
        let selector =
            runtime::selector::of(Some(&set.spec.selector)).map_err(|e| Error::Invalid(e.to_string()))?;
        let pods: Vec<Pod> = claimed(cx, &set, &selector).await?;
        let pods: Vec<Pod> = pods
            .into_iter()
            .filter(|p| identity::ordinal(&set, p).is_some())
            .collect();
        if set.deleting() {
            return Ok(Next::Done);
        }
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let history = revisions::sync(cx, &set, &set.spec.template, &selector, HASH, collisions).await?;
        let update = history.newest()?;
        let named = set.status.as_ref().and_then(|s| s.current_revision.as_deref());
        let current = history
            .all
            .iter()
            .find(|r| Some(r.name()) == named)
            .unwrap_or(update);
        let plan = plan::decide(&set, &pods, (current.name(), update.name()), cx.now());
        let mut failure = None;
        for step in &plan.steps {
            if let Err(e) = apply(cx, &set, step, (current, update)).await {
                failure = Some(e);
                break;
            }
        }
        let mut status = plan.status;
        status.collision_count = history.collisions;
        if set.status.as_ref() != Some(&status) {
            let mut new = set.clone();
            new.status = Some(status);
            cx.replace_status(&new).await?;
        }
        if let Some(e) = failure {
            return Err(e);
        }
        let used = |r: &ControllerRevision| {
            r.name() == current.name() || pods.iter().any(|p| p.label(POD_HASH) == Some(r.name()))
        };
        revisions::trim(cx, &history, set.spec.revision_history_limit, used).await?;
        Ok(plan
            .look_at
            .map_or(Next::Done, |at| Next::After(until(at, cx.now()))))
    }
}

async fn apply(
    cx: &Cx,
    set: &StatefulSet,
    step: &Step,
    (current, update): (&ControllerRevision, &ControllerRevision),
) -> Result<(), Error> {
    match step {
        Step::Create { ordinal, at_current } => {
            let revision = if *at_current { current } else { update };
            let then = revisions::at(set, revision)?;
            let pod = identity::pod(&then, *ordinal, revision.name());
            claims(cx, &then, *ordinal).await?;
            let name = pod.name().to_string();
            match cx.create(&pod).await {
                Ok(_) => {
                    let text = format!("create Pod {name} in StatefulSet {} successful", set.name());
                    cx.event(set, EventType::Normal, "SuccessfulCreate", text);
                }
                Err(e) if e.is_namespace_terminating() => {}
                Err(e) => {
                    let text = format!(
                        "create Pod {name} in StatefulSet {} failed error: {e}",
                        set.name()
                    );
                    cx.event(set, EventType::Warning, "FailedCreate", text);
                    return Err(e.into());
                }
            }
        }
        Step::Delete(pod) => {
            if identity::scaled_away(set, pod) {
                identity::retire_claims(cx, set, pod).await?;
            }
            cx.delete(&**pod, DeleteParams::default()).await?;
            let text = format!(
                "delete Pod {} in StatefulSet {} successful",
                pod.name(),
                set.name()
            );
            cx.event(set, EventType::Normal, "SuccessfulDelete", text);
        }
    }
    Ok(())
}

/// Makes the claims that a pod needs and that do not exist.
async fn claims(cx: &Cx, set: &StatefulSet, ordinal: i32) -> Result<(), Error> {
    for claim in identity::claims(set, ordinal) {
        if cx
            .get::<PersistentVolumeClaim>(claim.namespace(), claim.name())?
            .is_some()
        {
            continue;
        }
        match cx.create(&claim).await {
            Ok(_) => {
                let text = format!(
                    "create Claim {} Pod {}-{ordinal} in StatefulSet {} success",
                    claim.name(),
                    set.name(),
                    set.name()
                );
                cx.event(set, EventType::Normal, "SuccessfulCreate", text);
            }
            Err(e) if e.is_already_exists() || e.is_namespace_terminating() => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
