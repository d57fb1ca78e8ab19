//! Services of type LoadBalancer get a load balancer of the cloud, and its address in their status.
//!
//! The finalizer is written before the cloud is called, and removed when the cloud says *not found* (KEP-980, load
//! balancer finalizer). What a load balancer should be is decided purely from the Service and the Nodes.

mod plan;

use crate::CloudOf;
use api::k8s_openapi::api::core::v1::{Node, Service};
use async_trait::async_trait;
use client::Patch;
use cloud_api::{CloudError, LoadBalancers};
use runtime::{Change, Controller, Cx, Error, EventType, Key, Next, Wiring};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Kept on a Service for as long as the cloud has something of it.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";

/// See the module.
pub struct ServiceController {
    clouds: Arc<dyn CloudOf>,
}

impl ServiceController {
    /// With a way to find each cluster's cloud.
    pub fn new(clouds: Arc<dyn CloudOf>) -> Self {
        Self { clouds }
    }
}

#[async_trait]
impl Controller for ServiceController {
    fn name(&self) -> &'static str {
        "service-controller"
    }

    fn queue(&self) -> &'static str {
        "service"
    }

    fn wire(&self, wiring: &mut Wiring) {
        wiring.primary::<Service>().maps::<Node>(|caches, change| {
            if !membership_changed(change) {
                return Vec::new();
            }
            let services = caches.list::<Service>(&change.cluster, None, |entry| {
                entry.header.has_finalizer(FINALIZER)
            });
            services.into_iter().map(|entry| entry.key.clone()).collect()
        });
        wiring.writes::<Service>(&["patch", "update"]);
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some(service) = cx.this::<Service>()? else {
            return Ok(Next::Done);
        };
        let has_finalizer = service
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|f| f == FINALIZER);
        let wanted = plan::wants_load_balancer(&service) && service.metadata.deletion_timestamp.is_none();
        if !wanted && !has_finalizer {
            return Ok(Next::Done);
        }
        let Some(cloud) = self.clouds.cloud_of(&key.cluster) else {
            return Err(Error::NotYet("the cluster's cloud is not known yet".into()));
        };
        let Some(balancers) = cloud.load_balancers() else {
            cx.event(
                &service,
                EventType::Warning,
                "SyncLoadBalancerFailed",
                "this cloud has no load balancers",
            );
            return Ok(Next::Done);
        };
        if wanted {
            ensure(cx, balancers, service, has_finalizer).await
        } else {
            remove(cx, balancers, service).await
        }
    }
}

/// Whether a change of a node can change which nodes get traffic. Heartbeats cannot.
fn membership_changed(change: &Change) -> bool {
    let facts = |entry: &runtime::Entry| {
        entry
            .decode::<Node>()
            .ok()
            .map(|node| plan::eligible_address(&node))
    };
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => facts(old) != facts(new),
        _ => true,
    }
}

async fn ensure(
    cx: &Cx,
    balancers: &dyn LoadBalancers,
    service: Service,
    has_finalizer: bool,
) -> Result<Next, Error> {
    if !has_finalizer {
        let mut finalizers = service.metadata.finalizers.clone().unwrap_or_default();
        finalizers.push(FINALIZER.into());
        let version = &service.metadata.resource_version;
        // Through the status, as upstream does it: the role of this controller may write nothing else of a Service.
        let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": version } });
        cx.patch_status::<Service>(namespace(&service), name(&service), &Patch::Merge(patch))
            .await?;
        cx.event(
            &service,
            EventType::Normal,
            "EnsuringLoadBalancer",
            "Ensuring load balancer",
        );
    }
    let nodes = cx.list::<Node>(None)?;
    let Some(spec) = plan::decide(cx.cluster(), &service, &nodes) else {
        return Err(Error::NotYet("the Service has no node ports yet".into()));
    };
    let made = match balancers.ensure(&spec).await {
        Ok(made) => made,
        Err(CloudError::Throttled { retry_after }) => return Ok(Next::After(retry_after)),
        Err(error) => {
            let message = format!("Error syncing load balancer: {error}");
            cx.event(
                &service,
                EventType::Warning,
                "SyncLoadBalancerFailed",
                message.clone(),
            );
            return Err(Error::Invalid(message));
        }
    };
    let ingress = match (made.address, made.hostname) {
        (Some(address), _) => json!([{ "ip": address.to_string(), "ipMode": "VIP" }]),
        (None, Some(name)) => json!([{ "hostname": name }]),
        (None, None) => return Ok(Next::After(Duration::from_millis(500))),
    };
    let shown = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let shown = shown
        .and_then(|l| serde_json::to_value(&l.ingress).ok())
        .unwrap_or_default();
    if shown != ingress {
        let patch = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        cx.patch_status::<Service>(namespace(&service), name(&service), &Patch::Merge(patch))
            .await?;
        cx.event(
            &service,
            EventType::Normal,
            "EnsuredLoadBalancer",
            "Ensured load balancer",
        );
    }
    Ok(Next::Done)
}

async fn remove(cx: &Cx, balancers: &dyn LoadBalancers, service: Service) -> Result<Next, Error> {
    let Some(balancer) = plan::name(&service) else {
        return Ok(Next::Done);
    };
    match balancers.delete(cx.cluster(), &balancer).await {
        Ok(()) => return Ok(Next::After(Duration::from_millis(100))),
        Err(CloudError::NotFound(_)) => {}
        Err(CloudError::Throttled { retry_after }) => return Ok(Next::After(retry_after)),
        Err(error) => {
            let message = format!("Error deleting load balancer: {error}");
            cx.event(
                &service,
                EventType::Warning,
                "SyncLoadBalancerFailed",
                message.clone(),
            );
            return Err(Error::Invalid(message));
        }
    }
    let shown = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    if shown.is_some_and(|l| l.ingress.iter().flatten().next().is_some())
        && service.metadata.deletion_timestamp.is_none()
    {
        let patch = json!({ "status": { "loadBalancer": { "ingress": null } } });
        cx.patch_status::<Service>(namespace(&service), name(&service), &Patch::Merge(patch))
            .await?;
    }
    let left: Vec<_> = service
        .metadata
        .finalizers
        .iter()
        .flatten()
        .filter(|f| *f != FINALIZER)
        .collect();
    let patch = json!({ "metadata": { "finalizers": left } });
    match cx
        .patch_status::<Service>(namespace(&service), name(&service), &Patch::Merge(patch))
        .await
    {
        Ok(_) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    cx.event(
        &service,
        EventType::Normal,
        "DeletedLoadBalancer",
        "Deleted load balancer",
    );
    Ok(Next::Done)
}

fn namespace(service: &Service) -> &str {
    service.metadata.namespace.as_deref().unwrap_or_default()
}

fn name(service: &Service) -> &str {
    service.metadata.name.as_deref().unwrap_or_default()
}
