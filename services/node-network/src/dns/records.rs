//! What DNS needs of Services and EndpointSlices.

use super::zone::{EndpointRecord, ServiceName, ServiceRecord, SliceRecord};
use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;

/// A Service's records.
pub(crate) fn service(object: &Service) -> ServiceRecord {
    let Some(spec) = &object.spec else {
        return ServiceRecord::default();
    };
    if spec.type_.as_deref() == Some("ExternalName") {
        let alias = spec
            .external_name
            .as_deref()
            .unwrap_or_default()
            .trim_end_matches('.')
            .to_owned();
        return ServiceRecord {
            alias: Some(alias),
            ..ServiceRecord::default()
        };
    }
    let listed = spec.cluster_ips.as_deref().unwrap_or_default();
    let addresses = listed
        .iter()
        .chain(spec.cluster_ip.iter().filter(|_| listed.is_empty()));
    let ports = spec.ports.iter().flatten().map(|p| {
        let protocol = p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        (
            p.name.clone().unwrap_or_default(),
            protocol,
            u16::try_from(p.port).unwrap_or(0),
        )
    });
    ServiceRecord {
        addresses: addresses.filter_map(|a| a.parse().ok()).collect(),
        alias: None,
        ports: ports.collect(),
    }
}

/// The Service that a slice belongs to.
pub(crate) fn owner(object: &EndpointSlice) -> Option<ServiceName> {
    let name = object
        .metadata
        .labels
        .as_ref()?
        .get("kubernetes.io/service-name")?;
    Some((
        object.metadata.namespace.clone().unwrap_or_default(),
        name.clone(),
    ))
}

/// A slice's records: endpoints that are ready (which those of `publishNotReadyAddresses` always are).
pub(crate) fn slice(object: &EndpointSlice) -> SliceRecord {
    let endpoints = object.endpoints.iter().flatten().filter_map(|e| {
        let ready = e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        let address = e.addresses.first()?.parse().ok()?;
        ready.then(|| EndpointRecord {
            address,
            hostname: e.hostname.clone(),
        })
    });
    let ports = object.ports.iter().flatten().filter_map(|p| {
        let protocol = p.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
        Some((
            p.name.clone().unwrap_or_default(),
            protocol,
            u16::try_from(p.port?).ok()?,
        ))
    });
    SliceRecord {
        endpoints: endpoints.collect(),
        ports: ports.collect(),
    }
}
