//! Deletion of namespaces: everything inside goes, pods first, then the finalizer `kubernetes`.
//!
//! What there is to delete comes from discovery, so that custom resources and aggregated APIs are covered. Each pass
//! deletes collections, counts what is left (finalizers, grace periods) and writes the namespace's conditions; passes
//! repeat until nothing is left. A group that cannot be discovered blocks the end: its objects would be left behind.

mod plan;

use crate::common::{Meta, Object, conditions};
use crate::kinds::{Namespace, Pod, Time};
use async_trait::async_trait;
use client::{DeleteParams, DynApi, ListParams, Propagation, Resource};
use plan::Remains;
use runtime::{Controller, Cx, Error, Key, Next, Wiring};
use std::time::Duration;

/// The finalizer that this controller answers for.
const FINALIZER: &str = "kubernetes";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Namespaces;

#[async_trait]
impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn queue(&self) -> &'static str {
        "namespace"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Namespace>()
            .writes::<Namespace>(&["update", "delete"]);
    }

    fn workers(&self) -> usize {
        32
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        if !cx.this::<Namespace>()?.is_some_and(|n| n.deleting()) {
            return Ok(Next::Done);
        }
        // The cache may lag behind our own finalizing.
        let Some(mut namespace) = cx.api::<Namespace>("").get_opt(&key.name).await? else {
            return Ok(Next::Done);
        };
        if !namespace.deleting() {
            return Ok(Next::Done);
        }
        if namespace.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating") {
            namespace.status.get_or_insert_default().phase = Some("Terminating".into());
            namespace = cx.replace_status(&namespace).await?;
        }
        if !finalizers(&namespace).any(|f| f == FINALIZER) {
            return Ok(Next::Done);
        }
        let remains = empty(cx, namespace.name()).await;
        if remains.is_nothing() {
            if let Some(list) = namespace.spec.as_mut().and_then(|s| s.finalizers.as_mut()) {
                list.retain(|f| f != FINALIZER);
            }
            return match cx
                .api::<Namespace>("")
                .replace_subresource("finalize", &namespace)
                .await
            {
                Err(e) if !e.is_not_found() => Err(e.into()),
                _ => Ok(Next::Done),
            };
        }
        let mut status = namespace.status.clone().unwrap_or_default();
        for mut condition in remains.conditions() {
            condition.last_transition_time = Some(Time(cx.now()));
            conditions::set(&mut status.conditions, condition);
        }
        if Some(&status) != namespace.status.as_ref() {
            namespace.status = Some(status);
            match cx.replace_status(&namespace).await {
                Err(e) if e.is_not_found() => return Ok(Next::Done),
                Err(e) if !e.is_conflict() => return Err(e.into()),
                _ => {}
            }
        }
        Ok(Next::After(Duration::from_secs(remains.patience())))
    }
}

fn finalizers(namespace: &Namespace) -> impl Iterator<Item = &str> {
    namespace
        .spec
        .iter()
        .flat_map(|s| s.finalizers.iter().flatten())
        .map(String::as_str)
}

/// One pass over everything in a namespace.
async fn empty(cx: &Cx, namespace: &str) -> Remains {
    let mut remains = Remains::default();
    let discovery = match client::discover(cx.client()).await {
        Ok(discovery) => discovery,
        Err(e) => {
            remains.discovery = Some(e.to_string());
            return remains;
        }
    };
    if !discovery.stale.is_empty() {
        remains.discovery = Some(format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            discovery.stale.len(),
            discovery.stale.join(", ")
        ));
    }
    // Pods go first: others may protect them (network policies) or be needed while they end (secrets).
    one(cx, namespace, &Resource::of::<Pod>(), true, &mut remains).await;
    if !remains.counts.is_empty() || !remains.errors.is_empty() {
        return remains;
    }
    for found in &discovery.resources {
        let r = &found.resource;
        let pods = r.group.is_empty() && r.plural == "pods";
        if r.namespaced && !pods && found.can("delete") && found.can("list") {
            one(cx, namespace, r, found.can("deletecollection"), &mut remains).await;
        }
    }
    remains
}

/// Deletes one kind's objects and notes what is left.
async fn one(cx: &Cx, namespace: &str, resource: &Resource, at_once: bool, remains: &mut Remains) {
    let api = DynApi::new(cx.client(), resource.clone(), Some(namespace));
    let page = ListParams {
        limit: 500,
        ..ListParams::default()
    };
    let before = match api.list_partial(&page).await {
        Ok(list) => list.items,
        // The kind went away since it was discovered, or is not served for listing.
        Err(e) if e.is_not_found() || e.status().is_some_and(|s| s.code == 405) => return,
        Err(e) => return remains.errors.push(e.to_string()),
    };
    if before.is_empty() {
        return;
    }
    let background = DeleteParams {
        propagation_policy: Some(Propagation::Background),
        ..DeleteParams::default()
    };
    if at_once {
        if let Err(e) = api.delete_collection(&background, &ListParams::default()).await {
            remains.errors.push(e.to_string());
        }
    } else {
        for object in before.iter().filter(|o| o.metadata.deletion_timestamp.is_none()) {
            match api
                .delete(object.metadata.name.as_deref().unwrap_or(""), &background)
                .await
            {
                Err(e) if !e.is_not_found() => remains.errors.push(e.to_string()),
                _ => {}
            }
        }
    }
    match api.list_partial(&page).await {
        Ok(left) => {
            let grace = left
                .items
                .iter()
                .filter_map(|o| o.metadata.deletion_grace_period_seconds)
                .max();
            let finalizers = left
                .items
                .iter()
                .flat_map(|o| o.metadata.finalizers.iter().flatten());
            remains.add(
                resource,
                left.items.len(),
                finalizers.map(String::as_str),
                grace.unwrap_or(0),
            );
        }
        Err(e) if e.is_not_found() => {}
        Err(e) => remains.errors.push(e.to_string()),
    }
}
