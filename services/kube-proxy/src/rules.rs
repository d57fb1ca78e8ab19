//! The map elements that one Service needs, decided from what it is and from what it had before.
//!
//! A *front* is what clients connect to: an address and port, or a node port. Each front has its endpoints under dense indices
//! `0..K`, so that one random number chooses. When an endpoint goes, the last one takes its index; all others keep
//! theirs, which keeps changes small and sessions where they are.

use crate::endpoints::{Chosen, Endpoint, Place, choose};
use crate::ruleset::{Balance, INSIDE, Kind};
use crate::view::{Protocol, ServiceView, SliceView};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A map or set of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Map {
    /// Front with an address: which chain.
    Services,
    /// The same for clients inside, where they differ.
    ServicesInside,
    /// Node port: which chain.
    NodePorts,
    /// The same for clients inside.
    NodePortsInside,
    /// Front with an address and index: endpoint.
    Endpoints,
    /// Node port and index: endpoint.
    NodePortEndpoints,
    /// Front with an address that has no endpoint: refused or dropped.
    Dead,
    /// Node port without endpoint.
    DeadNodePorts,
    /// Fronts with source ranges.
    Guarded,
    /// Front and source range that may.
    Allowed,
    /// A local endpoint twice: it speaks to itself.
    Hairpin,
}

/// Elements, by map and key, both as nft writes them; sets have an empty value.
pub(crate) type Elements = BTreeMap<(Map, String), String>;

/// What clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Front {
    Address(Ipv4Addr, Protocol, u16),
    NodePort(Protocol, u16),
}

impl Front {
    fn key(self) -> String {
        match self {
            Self::Address(ip, protocol, port) => format!("{ip} . {} . {port}", protocol.name()),
            Self::NodePort(protocol, port) => format!("{} . {port}", protocol.name()),
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Address(_, protocol, _) | Self::NodePort(protocol, _) => protocol,
        }
    }
}

/// The endpoints of a front under their indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    /// For its own chain.
    pub(crate) own: Vec<Endpoint>,
    /// For clients inside, where they differ.
    pub(crate) inside: Vec<Endpoint>,
    pub(crate) affinity: bool,
}

/// Everything that one Service has in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceRules {
    pub(crate) fronts: BTreeMap<Front, Slots>,
    pub(crate) elements: Elements,
    /// Endpoints here, for those who count them (health checks).
    pub(crate) local_endpoints: usize,
}

/// Keeps the order of what stays; what goes is replaced by the last; what is new comes at the end.
fn settle(before: &[Endpoint], wanted: &BTreeSet<Endpoint>) -> Vec<Endpoint> {
    let mut slots: Vec<Endpoint> = Vec::with_capacity(wanted.len());
    slots.extend(before);
    let mut i = 0;
    while i < slots.len() {
        if wanted.contains(&slots[i]) {
            i += 1;
        } else {
            slots.swap_remove(i);
        }
    }
    let known: BTreeSet<Endpoint> = slots.iter().copied().collect();
    slots.extend(wanted.iter().filter(|e| !known.contains(e)));
    slots
}

/// What happens to a front's traffic.
enum Policy {
    /// To any endpoint, from inside.
    Internal,
    /// To any endpoint, from anywhere: masqueraded.
    External,
    /// To endpoints of this node only, with the client's own address.
    Local,
}

/// Decides a Service's elements.
pub(crate) fn decide<'a>(
    service: &ServiceView,
    slices: impl Iterator<Item = &'a SliceView> + Clone,
    place: &Place,
    skip: &BTreeSet<Ipv4Addr>,
    before: &ServiceRules,
) -> ServiceRules {
    let mut rules = ServiceRules::default();
    let mut local = BTreeSet::new();
    for port in &service.ports {
        let chosen = choose(port, slices.clone(), place);
        local.extend(chosen.local.iter().map(|(a, _)| *a));
        for address in &chosen.here {
            rules
                .elements
                .insert((Map::Hairpin, format!("{address} . {address}")), String::new());
        }
        let external = if service.external_local {
            Policy::Local
        } else {
            Policy::External
        };
        let address = |ip: &Ipv4Addr| Front::Address(*ip, port.protocol, port.port);
        for ip in service.cluster_ips.iter().filter(|ip| !skip.contains(ip)) {
            rules.front(service, address(ip), &chosen, &Policy::Internal, before);
        }
        for ip in service.external_ips.iter().chain(&service.balancer_ips) {
            rules.front(service, address(ip), &chosen, &external, before);
        }
        for ip in service
            .balancer_ips
            .iter()
            .filter(|_| !service.source_ranges.is_empty())
        {
            let key = address(ip).key();
            for range in &service.source_ranges {
                rules
                    .elements
                    .insert((Map::Allowed, format!("{key} . {range}")), String::new());
            }
            rules.elements.insert((Map::Guarded, key), String::new());
        }
        if let Some(node_port) = port.node_port {
            rules.front(
                service,
                Front::NodePort(port.protocol, node_port),
                &chosen,
                &external,
                before,
            );
        }
    }
    rules.local_endpoints = local.len();
    rules
}

impl ServiceRules {
    fn front(
        &mut self,
        service: &ServiceView,
        front: Front,
        chosen: &Chosen,
        policy: &Policy,
        before: &ServiceRules,
    ) {
        let (kind, wanted) = match policy {
            Policy::Internal if service.internal_local => (Kind::Internal, &chosen.local),
            Policy::Internal => (Kind::Internal, &chosen.cluster),
            Policy::External => (Kind::External, &chosen.cluster),
            Policy::Local => (Kind::Local, &chosen.local),
        };
        let known = before.fronts.get(&front);
        let own = settle(known.map_or(&[], |s| &s.own), wanted);
        // A `Local` policy is about clients outside; pods and the node itself reach every endpoint.
        let inside = match policy {
            Policy::Local => settle(known.map_or(&[], |s| &s.inside), &chosen.cluster),
            _ => Vec::new(),
        };
        let (main, twin, targets, dead, node_port) = match front {
            Front::Address(..) => (
                Map::Services,
                Map::ServicesInside,
                Map::Endpoints,
                Map::Dead,
                false,
            ),
            Front::NodePort(..) => (
                Map::NodePorts,
                Map::NodePortsInside,
                Map::NodePortEndpoints,
                Map::DeadNodePorts,
                true,
            ),
        };
        let key = front.key();
        let verdict = |kind, count| {
            Balance {
                kind,
                node_port,
                count,
                affinity: service.affinity,
            }
            .verdict()
        };
        if own.is_empty() {
            // Nowhere at all: say so. Somewhere, but not here: be silent, so that clients try elsewhere.
            let silent = !chosen.cluster.is_empty();
            self.elements.insert(
                (dead, key.clone()),
                if silent { "drop" } else { "goto refuse" }.into(),
            );
        } else {
            self.elements
                .insert((main, key.clone()), verdict(kind, own.len()));
        }
        if !inside.is_empty() {
            self.elements
                .insert((twin, key.clone()), verdict(Kind::Inside, inside.len()));
        }
        let numbered = own.iter().zip(0u32..).chain(inside.iter().zip(INSIDE..));
        for ((address, port), index) in numbered {
            self.elements.insert(
                (targets, format!("{key} . {index:#010x}")),
                format!("{address} . {port}"),
            );
        }
        self.fronts.insert(
            front,
            Slots {
                own,
                inside,
                affinity: service.affinity.is_some(),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{EndpointView, PortView};

    fn service() -> ServiceView {
        let port = PortView {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30_080),
        };
        ServiceView {
            cluster_ips: vec![Ipv4Addr::new(10, 96, 0, 5)],
            ports: vec![port],
            ..ServiceView::default()
        }
    }

    fn slice(endpoints: &[(u8, &str)]) -> SliceView {
        let endpoint = |(n, node): &(u8, &str)| EndpointView {
            address: Ipv4Addr::new(10, 0, 0, *n),
            ready: true,
            serving: true,
            terminating: false,
            node: Some((*node).into()),
            zones: BTreeSet::new(),
            nodes: BTreeSet::new(),
        };
        SliceView {
            ports: vec![(String::new(), Protocol::Tcp, 8080)],
            endpoints: endpoints.iter().map(endpoint).collect(),
        }
    }

    fn rules(service: &ServiceView, endpoints: &[(u8, &str)], before: &ServiceRules) -> ServiceRules {
        let place = Place {
            node: "me".into(),
            zone: None,
        };
        decide(
            service,
            [slice(endpoints)].iter(),
            &place,
            &BTreeSet::new(),
            before,
        )
    }

    fn of(rules: &ServiceRules, map: Map) -> Vec<String> {
        let found = rules.elements.iter().filter(|((m, _), _)| *m == map);
        found
            .map(|((_, k), v)| {
                if v.is_empty() {
                    k.clone()
                } else {
                    format!("{k} : {v}")
                }
            })
            .collect()
    }

    #[test]
    fn removing_an_endpoint_moves_only_the_last_one() {
        let first = rules(
            &service(),
            &[(1, "x"), (2, "me"), (3, "x")],
            &ServiceRules::default(),
        );
        assert_eq!(of(&first, Map::Services), ["10.96.0.5 . tcp . 80 : goto lb3"]);
        assert_eq!(of(&first, Map::NodePorts), ["tcp . 30080 : goto nxlb3"]);
        assert_eq!(of(&first, Map::Hairpin), ["10.0.0.2 . 10.0.0.2"]);
        let second = rules(&service(), &[(2, "me"), (3, "x")], &first);
        assert_eq!(
            of(&second, Map::Endpoints),
            [
                "10.96.0.5 . tcp . 80 . 0x00000000 : 10.0.0.3 . 8080",
                "10.96.0.5 . tcp . 80 . 0x00000001 : 10.0.0.2 . 8080",
            ]
        );
        let third = rules(&service(), &[(2, "me"), (3, "x"), (1, "x")], &second);
        let order: Vec<u8> = third
            .fronts
            .values()
            .next()
            .unwrap()
            .own
            .iter()
            .map(|(a, _)| a.octets()[3])
            .collect();
        assert_eq!(order, [3, 2, 1]);
    }

    #[test]
    fn a_service_without_endpoints_refuses_and_one_without_local_ones_drops() {
        let none = rules(&service(), &[], &ServiceRules::default());
        assert_eq!(of(&none, Map::Dead), ["10.96.0.5 . tcp . 80 : goto refuse"]);
        assert_eq!(of(&none, Map::DeadNodePorts), ["tcp . 30080 : goto refuse"]);
        let local = ServiceView {
            external_local: true,
            ..service()
        };
        let away = rules(&local, &[(1, "x")], &ServiceRules::default());
        assert_eq!(of(&away, Map::DeadNodePorts), ["tcp . 30080 : drop"]);
        assert_eq!(of(&away, Map::NodePortsInside), ["tcp . 30080 : goto nin1"]);
        assert_eq!(of(&away, Map::Services), ["10.96.0.5 . tcp . 80 : goto lb1"]);
        assert_eq!(away.local_endpoints, 0);
        let here = rules(&local, &[(1, "x"), (2, "me")], &away);
        assert_eq!(of(&here, Map::NodePorts), ["tcp . 30080 : goto nloc1"]);
        assert_eq!(here.local_endpoints, 1);
    }

    #[test]
    fn source_ranges_guard_the_load_balancer_only() {
        let service = ServiceView {
            balancer_ips: vec![Ipv4Addr::new(192, 0, 2, 1)],
            source_ranges: vec!["10.0.0.0/8".into()],
            ..service()
        };
        let rules = rules(&service, &[(1, "x")], &ServiceRules::default());
        assert_eq!(of(&rules, Map::Guarded), ["192.0.2.1 . tcp . 80"]);
        assert_eq!(of(&rules, Map::Allowed), ["192.0.2.1 . tcp . 80 . 10.0.0.0/8"]);
    }
}
