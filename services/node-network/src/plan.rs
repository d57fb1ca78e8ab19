//! What this node's network should be, decided from the Node objects alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The protocol number that marks our routes in the kernel, so that stale ones are found after a restart. Numbers from 192
/// up are nobody's (rtnetlink(7), `rtm_protocol`).
pub(crate) const ROUTE_PROTOCOL: u8 = 214;

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cidr {
    pub(crate) base: Ipv4Addr,
    pub(crate) length: u8,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (base, length) = text.split_once('/')?;
        let (base, length): (Ipv4Addr, u8) = (base.parse().ok()?, length.parse().ok()?);
        (length <= 32).then(|| {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Self {
                base: (u32::from(base) & mask).into(),
                length,
            }
        })
    }

    /// The n-th address of the range, or `None` beyond its end.
    pub(crate) fn nth(self, n: u32) -> Option<Ipv4Addr> {
        (u64::from(n) < self.size()).then(|| Ipv4Addr::from(u32::from(self.base) + n))
    }

    pub(crate) fn size(self) -> u64 {
        1 << (32 - u32::from(self.length))
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

/// What matters of a Node here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeView {
    pub(crate) pod_cidr: Option<Cidr>,
    pub(crate) address: Option<Ipv4Addr>,
}

/// What the node's network should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The range of this node's own pods, once it has one.
    pub(crate) own: Option<Cidr>,
    /// Ranges of other nodes' pods, and the node each is behind.
    pub(crate) routes: BTreeMap<Cidr, Ipv4Addr>,
    /// The addresses of all nodes.
    pub(crate) nodes: BTreeSet<Ipv4Addr>,
}

/// Decides the plan for the node called `me`.
pub(crate) fn decide(me: &str, nodes: &BTreeMap<String, NodeView>) -> Plan {
    let mut plan = Plan::default();
    for (name, node) in nodes {
        plan.nodes.extend(node.address);
        match (name == me, node.pod_cidr, node.address) {
            (true, cidr, _) => plan.own = cidr,
            (false, Some(cidr), Some(address)) => drop(plan.routes.insert(cidr, address)),
            (false, ..) => {}
        }
    }
    plan
}

/// The `ip -batch` that leads from one set of routes to another. `delete` is forced by the caller: a route that has gone with its
/// device is gone.
pub(crate) fn route_changes(
    old: &BTreeMap<Cidr, Ipv4Addr>,
    new: &BTreeMap<Cidr, Ipv4Addr>,
) -> (String, String) {
    let (mut deletes, mut replaces) = (String::new(), String::new());
    for cidr in old.keys().filter(|c| !new.contains_key(c)) {
        let _infallible = writeln!(deletes, "route del {cidr} proto {ROUTE_PROTOCOL}");
    }
    for (cidr, via) in new.iter().filter(|(c, v)| old.get(c) != Some(v)) {
        let _infallible = writeln!(replaces, "route replace {cidr} via {via} proto {ROUTE_PROTOCOL}");
    }
    (deletes, replaces)
}

/// The rules that give pods the node's address where nobody knows theirs: everywhere but in the cluster.
pub(crate) fn masquerade(pods: Cidr, services: Cidr, nodes: &BTreeSet<Ipv4Addr>) -> String {
    let mut inside = vec![pods.to_string(), services.to_string()];
    // An interval set refuses what overlaps.
    let known = |a: &Ipv4Addr| {
        [pods, services]
            .iter()
            .any(|c| Cidr { base: *a, length: 32 }.within(*c))
    };
    inside.extend(nodes.iter().filter(|a| !known(a)).map(Ipv4Addr::to_string));
    format!(
        "add table ip marina-net\ndelete table ip marina-net\ntable ip marina-net {{\n  \
         set inside {{ type ipv4_addr; flags interval; elements = {{ {} }} }}\n  \
         chain post {{ type nat hook postrouting priority 110; policy accept;\n    \
         ip saddr {pods} ip daddr != @inside masquerade\n  }}\n}}\n",
        inside.join(", ")
    )
}

impl Cidr {
    fn within(self, other: Self) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(other.length)).unwrap_or(0);
        self.length >= other.length && u32::from(self.base) & mask == u32::from(other.base)
    }
}

/// The plugin's configuration, as containerd reads it.
pub(crate) fn conflist(own: Cidr, mtu: u32) -> String {
    let list = serde_json::json!({
        "cniVersion": "1.0.0",
        "name": "marina",
        "plugins": [{
            "type": "marina",
            "podCIDR": own.to_string(),
            "mtu": mtu,
            "capabilities": { "portMappings": true },
        }],
    });
    format!("{list:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(cidr: &str, address: &str) -> NodeView {
        NodeView {
            pod_cidr: Cidr::parse(cidr),
            address: address.parse().ok(),
        }
    }

    #[test]
    fn routes_follow_nodes_and_only_what_changed_is_said() {
        let mut nodes = BTreeMap::from([
            ("a".to_owned(), node("10.244.0.0/24", "10.250.0.10")),
            ("b".to_owned(), node("10.244.1.0/24", "10.250.0.11")),
            ("c".to_owned(), node("", "10.250.0.12")),
        ]);
        let first = decide("a", &nodes);
        assert_eq!(first.own, Cidr::parse("10.244.0.0/24"));
        let (del, add) = route_changes(&BTreeMap::new(), &first.routes);
        assert_eq!(
            (del.as_str(), add.as_str()),
            ("", "route replace 10.244.1.0/24 via 10.250.0.11 proto 214\n")
        );
        nodes.remove("b");
        nodes.insert("c".into(), node("10.244.2.0/24", "10.250.0.12"));
        let second = decide("a", &nodes);
        let (del, add) = route_changes(&first.routes, &second.routes);
        assert_eq!(del, "route del 10.244.1.0/24 proto 214\n");
        assert_eq!(add, "route replace 10.244.2.0/24 via 10.250.0.12 proto 214\n");
        assert_eq!(
            route_changes(&second.routes, &second.routes),
            (String::new(), String::new())
        );
    }

    #[test]
    fn a_range_is_masked_and_counted() {
        let cidr = Cidr::parse("10.244.7.9/24").unwrap();
        assert_eq!(cidr.to_string(), "10.244.7.0/24");
        assert_eq!(cidr.nth(255), Some(Ipv4Addr::new(10, 244, 7, 255)));
        assert_eq!(cidr.nth(256), None);
        for bad in ["10.0.0.0", "10.0.0.0/33", "fd00::/64", ""] {
            assert_eq!(Cidr::parse(bad), None, "{bad}");
        }
    }
}
