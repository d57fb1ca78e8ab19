//! Pods as subsets: addresses that answer on the same ports stand together.

use crate::common::{Object, pods, services};
use crate::kinds::{EndpointAddress, EndpointSubset, EndpointsPort, ObjectReference, Pod, Service};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "endpoint-controller";
pub(super) const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Addresses in one object at most.
const MAX: usize = 1000;

pub(super) fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if services::is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn wants_v6(service: &Service) -> bool {
    let families = service.spec.as_ref().and_then(|s| s.ip_families.as_ref());
    families.and_then(|f| f.first()).is_some_and(|f| f == "IPv6")
}

/// The subsets, and whether addresses were cut off.
pub(super) fn subsets(service: &Service, all: &[Pod]) -> (Vec<EndpointSubset>, bool) {
    type Group = (Vec<EndpointsPort>, Vec<EndpointAddress>, Vec<EndpointAddress>);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let unready = services::publishes_unready(service);
    let mut count = 0;
    let mut candidates: Vec<&Pod> = all.iter().filter(|p| services::is_endpoint(p, unready)).collect();
    candidates.sort_by_key(|p| (!pods::is_ready(p), p.name().to_string()));
    let mut cut = false;
    for pod in candidates {
        let fits = |ip: &IpAddr| ip.is_ipv6() == wants_v6(service);
        let Some(ip) = services::addresses(pod).into_iter().find(fits) else {
            continue;
        };
        if count == MAX {
            cut = true;
            break;
        }
        let wanted = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
        let ports: Vec<EndpointsPort> = wanted
            .filter_map(|p| {
                Some(EndpointsPort {
                    name: p.name.clone().filter(|n| !n.is_empty()),
                    port: services::port_on(pod, p)?,
                    protocol: Some(p.protocol.clone().unwrap_or_else(|| "TCP".into())),
                    app_protocol: p.app_protocol.clone(),
                })
            })
            .collect();
        if ports.is_empty() && !services::is_headless(service) {
            continue;
        }
        count += 1;
        let address = EndpointAddress {
            ip: ip.to_string(),
            hostname: services::hostname(pod, service),
            node_name: pods::node(pod).map(str::to_string),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".into()),
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
        };
        let key = ports
            .iter()
            .map(|p| format!("{:?}/{}/{:?},", p.name, p.port, p.protocol))
            .collect();
        let group = groups
            .entry(key)
            .or_insert_with(|| (ports, Vec::new(), Vec::new()));
        if unready || pods::is_ready(pod) {
            group.1.push(address)
        } else {
            group.2.push(address)
        }
    }
    let subset = |(ports, mut ready, mut waiting): Group| {
        let by_ip = |a: &EndpointAddress| a.ip.parse::<IpAddr>().ok();
        ready.sort_by_key(by_ip);
        waiting.sort_by_key(by_ip);
        EndpointSubset {
            addresses: (!ready.is_empty()).then_some(ready),
            not_ready_addresses: (!waiting.is_empty()).then_some(waiting),
            ports: (!ports.is_empty()).then_some(ports),
        }
    };
    (groups.into_values().map(subset).collect(), cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{object, pod};

    #[test]
    fn pods_that_are_not_ready_stand_apart() {
        let service: Service = object(
            r#"{"metadata":{"name":"web"},"spec":{"clusterIP":"10.0.0.1","ports":[{"port":80,"targetPort":8080}]}}"#,
        );
        let one = |name: &str, ip: &str, ready: &str| {
            pod(&format!(
                r#"{{"metadata":{{"name":"{name}"}},"status":{{"phase":"Running","podIP":"{ip}",
                "conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
            ))
        };
        let pods = [
            one("a", "10.1.0.10", "True"),
            one("b", "10.1.0.9", "True"),
            one("c", "10.1.0.1", "False"),
        ];
        let (subsets, cut) = subsets(&service, &pods);
        assert!(!cut && subsets.len() == 1);
        let ips =
            |a: &Option<Vec<EndpointAddress>>| a.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>();
        assert_eq!(
            ips(&subsets[0].addresses),
            ["10.1.0.9", "10.1.0.10"],
            "sorted as numbers"
        );
        assert_eq!(ips(&subsets[0].not_ready_addresses), ["10.1.0.1"]);
        assert_eq!(subsets[0].ports.as_ref().unwrap()[0].port, 8080);
    }
}
