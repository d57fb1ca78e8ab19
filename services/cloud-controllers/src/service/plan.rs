//! What a Service's load balancer should be: pure.

use api::k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use base::ClusterId;
use cloud_api::{HealthCheck, Listener, LoadBalancerSpec, Protocol, TAG_CLUSTER, Tags, Target};
use std::net::{IpAddr, SocketAddr};

/// A node with this label gets no traffic (Kubernetes documentation, well-known labels).
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The autoscaler's mark of nodes that are about to go.
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

pub(super) fn wants_load_balancer(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|s| s.type_.as_deref() == Some("LoadBalancer") && s.load_balancer_class.is_none())
}

/// `a` and the Service's uid without dashes, as the cloud providers of Kubernetes name them.
pub(super) fn name(service: &Service) -> Option<String> {
    let uid = service.metadata.uid.as_ref()?;
    let short: String = uid.chars().filter(char::is_ascii_alphanumeric).take(31).collect();
    Some(format!("a{}", short.to_ascii_lowercase()))
}

/// The address that traffic for a node goes to and its zone, if the node is to get any.
pub(super) fn eligible_address(node: &Node) -> Option<(IpAddr, Option<String>)> {
    let labels = node.metadata.labels.as_ref();
    let excluded =
        labels.is_some_and(|l| l.contains_key(EXCLUDED)) || node.metadata.deletion_timestamp.is_some();
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    let leaving = taints.into_iter().any(|t| t.key == LEAVING);
    let status = node.status.as_ref()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    if excluded || leaving || !ready {
        return None;
    }
    let address = status
        .addresses
        .iter()
        .flatten()
        .find(|a| a.type_ == "InternalIP")?
        .address
        .parse()
        .ok()?;
    let zone = labels.and_then(|l| l.get("topology.kubernetes.io/zone")).cloned();
    Some((address, zone))
}

/// `None` while a port has no node port yet.
pub(super) fn decide(cluster: &ClusterId, service: &Service, nodes: &[Node]) -> Option<LoadBalancerSpec> {
    let spec = service.spec.as_ref()?;
    let mut addresses: Vec<_> = nodes.iter().filter_map(eligible_address).collect();
    addresses.sort();
    let local = spec.external_traffic_policy.as_deref() == Some("Local");
    let check_port = spec
        .health_check_node_port
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0);
    let listeners = spec.ports.iter().flatten().map(|port| {
        let (listen, node_port) = numbers(port)?;
        let health = match check_port {
            Some(check) if local => HealthCheck::Http {
                port: check,
                path: "/healthz".into(),
            },
            _ => HealthCheck::Connect,
        };
        let protocol = if port.protocol.as_deref() == Some("UDP") {
            Protocol::Udp
        } else {
            Protocol::Tcp
        };
        let target = |(address, zone): &(IpAddr, Option<String>)| Target {
            addr: SocketAddr::new(*address, node_port),
            zone: zone.clone(),
        };
        Some(Listener {
            port: listen,
            protocol,
            targets: addresses.iter().map(target).collect(),
            health,
        })
    });
    Some(LoadBalancerSpec {
        name: name(service)?,
        cluster: cluster.clone(),
        listeners: listeners.collect::<Option<_>>()?,
        source_ranges: spec.load_balancer_source_ranges.clone().unwrap_or_default(),
        tags: Tags::from([(TAG_CLUSTER.to_owned(), cluster.to_string())]),
    })
}

fn numbers(port: &ServicePort) -> Option<(u16, u16)> {
    let node_port = u16::try_from(port.node_port?).ok().filter(|p| *p > 0)?;
    Some((u16::try_from(port.port).ok()?, node_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, address: &str, ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "a"}},
            "status": {"addresses": [{"type": "InternalIP", "address": address}],
                "conditions": [{"type": "Ready", "status": ready}]}
        }))
        .unwrap()
    }

    fn service(node_port: serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "shop", "uid": "0fb2a5d2-3c4e-4f7a-9a59-0e0f6c1f2d3e"},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": node_port}]}
        }))
        .unwrap()
    }

    #[test]
    fn only_ready_nodes_that_are_not_excluded_get_traffic() {
        let mut excluded = node("c", "10.0.0.3", "True");
        excluded
            .metadata
            .labels
            .get_or_insert_default()
            .insert(EXCLUDED.into(), String::new());
        let nodes = [
            node("a", "10.0.0.1", "True"),
            node("b", "10.0.0.2", "False"),
            excluded,
        ];
        let spec = decide(&"c1".parse().unwrap(), &service(json!(30080)), &nodes).unwrap();
        let targets: Vec<_> = spec.listeners[0]
            .targets
            .iter()
            .map(|t| t.addr.to_string())
            .collect();
        assert_eq!(targets, ["10.0.0.1:30080"]);
        assert!(
            spec.validate().is_ok(),
            "the name is one that clouds take: {}",
            spec.name
        );
    }

    #[test]
    fn without_a_node_port_there_is_nothing_to_make_yet() {
        assert_eq!(decide(&"c1".parse().unwrap(), &service(json!(null)), &[]), None);
    }

    #[test]
    fn other_classes_are_left_to_others() {
        let mut other = service(json!(1));
        assert!(wants_load_balancer(&other));
        other.spec.as_mut().unwrap().load_balancer_class = Some("example.com/x".into());
        assert!(!wants_load_balancer(&other));
    }
}
