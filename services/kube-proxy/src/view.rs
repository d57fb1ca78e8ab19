//! What matters of Services and EndpointSlices here.

use api::core::v1::Service;
use api::discovery::v1::EndpointSlice;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// A Service's namespace and name.
pub(crate) type ServiceName = (String, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// As nft writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortView {
    pub(crate) name: String,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) node_port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceView {
    pub(crate) cluster_ips: Vec<Ipv4Addr>,
    /// External addresses without source ranges.
    pub(crate) external_ips: Vec<Ipv4Addr>,
    /// Addresses of the load balancer that are to be served here (`ipMode` VIP).
    pub(crate) balancer_ips: Vec<Ipv4Addr>,
    /// Ranges that may reach the load balancer's addresses; empty: all.
    pub(crate) source_ranges: Vec<String>,
    pub(crate) ports: Vec<PortView>,
    /// `externalTrafficPolicy: Local`.
    pub(crate) external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub(crate) internal_local: bool,
    /// `sessionAffinity: ClientIP`, its timeout in seconds.
    pub(crate) affinity: Option<u32>,
    /// Where load balancers ask whether this node has endpoints.
    pub(crate) health_port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointView {
    pub(crate) address: Ipv4Addr,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    pub(crate) node: Option<String>,
    pub(crate) zones: BTreeSet<String>,
    pub(crate) nodes: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SliceView {
    pub(crate) ports: Vec<(String, Protocol, u16)>,
    pub(crate) endpoints: Vec<EndpointView>,
}

fn port(n: i32) -> Option<u16> {
    u16::try_from(n).ok().filter(|p| *p > 0)
}

/// `None` for a Service that has no address to serve (headless, ExternalName, handled by another proxy).
pub(crate) fn service(object: &Service) -> Option<ServiceView> {
    const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
    let spec = object.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName")
        || object
            .metadata
            .labels
            .as_ref()
            .is_some_and(|l| l.contains_key(OTHER_PROXY))
    {
        return None;
    }
    let v4 = |texts: Option<&Vec<String>>| -> Vec<Ipv4Addr> {
        texts
            .into_iter()
            .flatten()
            .filter_map(|t| t.parse().ok())
            .collect()
    };
    let mut cluster_ips = v4(spec.cluster_ips.as_ref());
    if cluster_ips.is_empty() {
        cluster_ips.extend(
            spec.cluster_ip
                .as_deref()
                .and_then(|t| t.parse::<Ipv4Addr>().ok()),
        );
    }
    if cluster_ips.is_empty() {
        return None;
    }
    let ingress = object
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref())
        .and_then(|l| l.ingress.as_ref());
    let balancer_ips = ingress
        .into_iter()
        .flatten()
        .filter(|i| i.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|i| i.ip.as_deref()?.parse().ok())
        .collect();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec
            .session_affinity_config
            .as_ref()
            .and_then(|c| c.client_ip.as_ref());
        config
            .and_then(|c| c.timeout_seconds)
            .and_then(|t| u32::try_from(t).ok())
            .unwrap_or(10_800)
    });
    Some(ServiceView {
        cluster_ips,
        external_ips: v4(spec.external_ips.as_ref()),
        balancer_ips,
        source_ranges: spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .map(|r| r.trim().to_owned())
            .filter(|r| {
                r.split_once('/')
                    .is_some_and(|(a, _)| a.parse::<Ipv4Addr>().is_ok())
            })
            .collect(),
        ports: ports
            .iter()
            .filter_map(|p| {
                Some(PortView {
                    name: p.name.clone().unwrap_or_default(),
                    protocol: Protocol::parse(p.protocol.as_deref())?,
                    port: port(p.port)?,
                    node_port: p.node_port.and_then(port),
                })
            })
            .collect(),
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        affinity,
        health_port: spec.health_check_node_port.and_then(port),
    })
}

/// The Service that a slice belongs to, by its label.
pub(crate) fn owner(object: &EndpointSlice) -> Option<ServiceName> {
    const LABEL: &str = "kubernetes.io/service-name";
    let name = object.metadata.labels.as_ref()?.get(LABEL)?;
    Some((
        object.metadata.namespace.clone().unwrap_or_default(),
        name.clone(),
    ))
}

/// The slice; one of another address family is empty.
pub(crate) fn slice(object: &EndpointSlice) -> SliceView {
    if object.address_type != "IPv4" {
        return SliceView::default();
    }
    let ports = object.ports.iter().flatten().filter_map(|p| {
        Some((
            p.name.clone().unwrap_or_default(),
            Protocol::parse(p.protocol.as_deref())?,
            p.port.and_then(port)?,
        ))
    });
    let endpoints = object.endpoints.iter().flatten().filter_map(|e| {
        let conditions = e.conditions.as_ref();
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let hints = e.hints.as_ref();
        Some(EndpointView {
            address: e.addresses.first()?.parse().ok()?,
            ready,
            serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
            terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
            node: e.node_name.clone(),
            zones: hints
                .and_then(|h| h.for_zones.as_ref())
                .into_iter()
                .flatten()
                .map(|z| z.name.clone())
                .collect(),
            nodes: hints
                .and_then(|h| h.for_nodes.as_ref())
                .into_iter()
                .flatten()
                .map(|n| n.name.clone())
                .collect(),
        })
    });
    SliceView {
        ports: ports.collect(),
        endpoints: endpoints.collect(),
    }
}
