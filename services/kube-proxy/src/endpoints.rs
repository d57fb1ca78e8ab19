//! Which endpoints a port of a Service uses on this node.
//!
//! As upstream has it: ready endpoints, else those that still serve while they terminate; of them those that hints give to this
//! node or zone, if every endpoint has hints and one fits; and, for `Local` policies, those on this node.

use crate::view::{EndpointView, PortView, SliceView};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// An address and port that traffic is sent to.
pub(crate) type Endpoint = (Ipv4Addr, u16);

/// Where this node is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) node: String,
    pub(crate) zone: Option<String>,
}

/// The endpoints of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// For traffic that may go anywhere.
    pub(crate) cluster: BTreeSet<Endpoint>,
    /// For traffic that must stay on this node.
    pub(crate) local: BTreeSet<Endpoint>,
    /// All that are on this node and take traffic, whichever list they are in: they may reach themselves.
    pub(crate) here: BTreeSet<Ipv4Addr>,
}

pub(crate) fn choose<'a>(
    port: &PortView,
    slices: impl Iterator<Item = &'a SliceView>,
    place: &Place,
) -> Chosen {
    let all: Vec<(&EndpointView, Endpoint)> = slices
        .flat_map(|slice| {
            let target = slice
                .ports
                .iter()
                .find(|(name, protocol, _)| *name == port.name && *protocol == port.protocol);
            let target = target.map(|(_, _, port)| *port);
            slice
                .endpoints
                .iter()
                .filter_map(move |e| Some((e, (e.address, target?))))
        })
        .collect();
    let here = |e: &EndpointView| e.node.as_deref() == Some(&place.node);
    let local: Vec<_> = all.iter().copied().filter(|(e, _)| here(e)).collect();
    let usable = usable(&all);
    let chosen = Chosen {
        local: self::usable(&local).into_iter().map(|(_, t)| t).collect(),
        cluster: nearby(&usable, place).into_iter().map(|(_, t)| t).collect(),
        here: BTreeSet::new(),
    };
    let addresses = local.iter().map(|(e, t)| (e.address, *t));
    let here = addresses
        .filter(|(_, t)| chosen.cluster.contains(t) || chosen.local.contains(t))
        .map(|(a, _)| a);
    Chosen {
        here: here.collect(),
        ..chosen
    }
}

type Candidate<'a> = (&'a EndpointView, Endpoint);

fn usable<'a>(all: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let ready: Vec<_> = all.iter().copied().filter(|(e, _)| e.ready).collect();
    if !ready.is_empty() {
        return ready;
    }
    all.iter()
        .copied()
        .filter(|(e, _)| e.serving && e.terminating)
        .collect()
}

fn nearby<'a>(all: &[Candidate<'a>], place: &Place) -> Vec<Candidate<'a>> {
    let filtered = |wanted: &dyn Fn(&EndpointView) -> bool| -> Vec<Candidate<'a>> {
        all.iter().copied().filter(|(e, _)| wanted(e)).collect()
    };
    if all.iter().all(|(e, _)| !e.nodes.is_empty()) {
        let same = filtered(&|e| e.nodes.contains(&place.node));
        if !same.is_empty() {
            return same;
        }
    }
    if let Some(zone) = &place.zone
        && all.iter().all(|(e, _)| !e.zones.is_empty())
    {
        let same = filtered(&|e| e.zones.contains(zone));
        if !same.is_empty() {
            return same;
        }
    }
    all.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Protocol;

    fn endpoint(n: u8, node: &str, zone: &str) -> EndpointView {
        EndpointView {
            address: Ipv4Addr::new(10, 0, 0, n),
            ready: true,
            serving: true,
            terminating: false,
            node: Some(node.into()),
            zones: if zone.is_empty() {
                BTreeSet::new()
            } else {
                BTreeSet::from([zone.to_owned()])
            },
            nodes: BTreeSet::new(),
        }
    }

    fn pick(endpoints: Vec<EndpointView>) -> (Vec<u8>, Vec<u8>) {
        let port = PortView {
            name: "web".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        };
        let slice = SliceView {
            ports: vec![("web".into(), Protocol::Tcp, 8080)],
            endpoints,
        };
        let place = Place {
            node: "n1".into(),
            zone: Some("a".into()),
        };
        let chosen = choose(&port, std::iter::once(&slice), &place);
        let bytes = |set: BTreeSet<Endpoint>| set.into_iter().map(|(a, _)| a.octets()[3]).collect();
        (bytes(chosen.cluster), bytes(chosen.local))
    }

    #[test]
    fn hints_count_only_if_every_endpoint_has_one_and_one_fits() {
        let (a1, b2) = (endpoint(1, "n1", "a"), endpoint(2, "n2", "b"));
        assert_eq!(pick(vec![a1.clone(), b2.clone()]), (vec![1], vec![1]));
        assert_eq!(pick(vec![a1.clone(), endpoint(2, "n2", "")]).0, [1, 2]);
        assert_eq!(pick(vec![endpoint(1, "n1", "c"), b2.clone()]).0, [1, 2]);
        let to_node = EndpointView {
            nodes: BTreeSet::from(["n1".to_owned()]),
            ..b2
        };
        assert_eq!(pick(vec![to_node]).0, [2]);
    }

    #[test]
    fn terminating_endpoints_serve_only_when_no_other_is_left() {
        let leaving = EndpointView {
            ready: false,
            terminating: true,
            ..endpoint(1, "n1", "")
        };
        assert_eq!(
            pick(vec![leaving.clone(), endpoint(2, "n2", "")]),
            (vec![2], vec![1])
        );
        assert_eq!(pick(vec![leaving.clone()]), (vec![1], vec![1]));
        let failing = EndpointView {
            serving: false,
            ..leaving
        };
        assert_eq!(pick(vec![failing]), (vec![], vec![]));
    }
}
