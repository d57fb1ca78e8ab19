//! EndpointSlices of Services with a selector: which pods answer, on which ports, in slices of at most 100.
//!
//! Slices are changed as little as possible: an endpoint stays in its slice, free places are filled before a slice is
//! added. Slices of others (another `managed-by`) are left alone.

mod plan;

use crate::common::services;
use crate::kinds::{EndpointSlice, Node, Pod, Service};
use async_trait::async_trait;
use client::DeleteParams;
use runtime::{Controller, Cx, Error, Key, Next, Wiring};
use std::collections::HashMap;

const SERVICE: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

/// See the module. Keys are Services.
#[derive(Debug, Default)]
pub(crate) struct EndpointSlices;

#[async_trait]
impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn queue(&self) -> &'static str {
        "endpoint_slice"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Service>().maps::<Pod>(services::of_pod);
        w.maps::<EndpointSlice>(|_, change| {
            let slice = change.entry();
            let mine = slice.header.label(MANAGED_BY) == Some(MANAGER);
            let service = slice.header.label(SERVICE).filter(|_| mine);
            service
                .map(|name| Key::new(&change.cluster, &slice.key.namespace, name))
                .into_iter()
                .collect()
        });
        // A node's zone is known late, or changes: rarely.
        w.maps::<Node>(|caches, change| {
            let zone = |e: &Option<std::sync::Arc<runtime::Entry>>| {
                e.as_ref().and_then(|e| e.header.label(ZONE).map(str::to_string))
            };
            if zone(&change.old) == zone(&change.new) {
                return Vec::new();
            }
            caches
                .list::<Service>(&change.cluster, None, |_| true)
                .iter()
                .map(|s| s.key.clone())
                .collect()
        });
        w.writes::<EndpointSlice>(&["create", "update", "delete"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(service) = cx.this::<Service>()? else {
            return Ok(Next::Done);
        };
        if crate::common::Meta::deleting(&service) || services::is_manual(&service) {
            return Ok(Next::Done);
        }
        let selector = services::selector(&service).map_err(|e| Error::Invalid(e.to_string()))?;
        let pods: Vec<Pod> = cx.select(Some(&key.namespace), &selector)?;
        let slices: Vec<EndpointSlice> = cx.list_where(Some(&key.namespace), |e| {
            e.header.label(SERVICE) == Some(&key.name) && e.header.label(MANAGED_BY) == Some(MANAGER)
        })?;
        let zones: HashMap<String, String> = cx
            .caches()
            .list::<Node>(cx.cluster(), None, |_| true)
            .iter()
            .filter_map(|n| Some((n.key.name.to_string(), n.header.label(ZONE)?.to_string())))
            .collect();
        let plan = plan::decide(&service, &pods, &slices, &zones);
        for slice in &plan.update {
            cx.replace(slice).await?;
        }
        for slice in &plan.create {
            match cx.create(slice).await {
                Err(e) if e.is_namespace_terminating() => return Ok(Next::Done),
                other => other?,
            };
        }
        for slice in &plan.delete {
            cx.delete(slice, DeleteParams::default()).await?;
        }
        Ok(Next::Done)
    }
}
