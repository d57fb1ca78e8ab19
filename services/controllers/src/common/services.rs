//! Which pods a Service has and on which ports, for Endpoints and EndpointSlices.

use super::{Meta, pods};
use crate::kinds::{IntOrString, Pod, Service};
use api::core::v1::ServicePort;
use runtime::{Caches, Change, Key};
use std::net::IpAddr;

/// The Services whose selector matches a changed pod's labels, before or after.
pub(crate) fn of_pod(caches: &Caches, change: &Change) -> Vec<Key> {
    let namespace = change.entry().key.namespace.clone();
    let services = caches.list::<Service>(&change.cluster, Some(&namespace), |_| true);
    let mut keys = Vec::new();
    for service in services {
        let Ok(object) = service.decode::<Service>() else {
            continue;
        };
        let Ok(selector) = selector(&object) else { continue };
        if change.sides().any(|e| e.header.matches(&selector)) {
            keys.push(service.key.clone());
        }
    }
    keys
}

/// The Service's selector; nothing for one without.
pub(crate) fn selector(
    service: &Service,
) -> Result<machinery::selector::Selector, machinery::selector::SelectorError> {
    runtime::selector::of_map(service.spec.as_ref().and_then(|s| s.selector.as_ref()))
}

/// Whether somebody else than these controllers keeps the Service's endpoints.
pub(crate) fn is_manual(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|s| s.selector.as_ref())
        .is_none_or(std::collections::BTreeMap::is_empty)
        || spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName")
}

/// Whether it has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods that are not ready are published too.
pub(crate) fn publishes_unready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|s| s.publish_not_ready_addresses)
        .unwrap_or(false)
}

/// Whether a pod can be reached at all.
pub(crate) fn is_endpoint(pod: &Pod, include_terminating: bool) -> bool {
    !pods::is_finished(pod) && !addresses(pod).is_empty() && (include_terminating || !pod.deleting())
}

/// A pod's addresses.
pub(crate) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let listed = status.pod_ips.iter().flatten().map(|p| p.ip.as_str());
    let mut all: Vec<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    if all.is_empty() {
        all.extend(status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()));
    }
    all
}

/// The number of a Service's port on a pod: its own, or that of the container port with the name.
pub(crate) fn port_on(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(n)) => Some(*n),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let mut ports = spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|c| c.ports.iter().flatten());
            let found = ports.find(|p| {
                p.name.as_deref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
            });
            found.map(|p| p.container_port)
        }
    }
}

/// The host name under which a pod is published by a headless Service.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    use api::Object;
    let spec = pod.spec.as_ref()?;
    let host = spec.hostname.clone().filter(|h| !h.is_empty())?;
    (spec.subdomain.as_deref() == Some(service.name())).then_some(host)
}
