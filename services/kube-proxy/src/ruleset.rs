//! The text of the ruleset: what is always there, and the chains that choose among K endpoints.
//!
//! The chosen index travels in the packet mark, the wish to masquerade in the connection mark, so that neither disturbs the
//! other. Maps are declared by `type`: with `typeof`, nft compiles a hidden match on the protocol (seen with 1.0.6).

use crate::rules::Map;
use std::fmt::Write as _;

/// The first index of the endpoints that only clients inside use.
pub(crate) const INSIDE: u32 = 0x1_0000;

/// The name of our table.
pub(crate) const TABLE: &str = "ip marina-proxy";

impl Map {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Services => "svc",
            Self::ServicesInside => "svcin",
            Self::NodePorts => "np",
            Self::NodePortsInside => "npin",
            Self::Endpoints => "eps",
            Self::NodePortEndpoints => "npeps",
            Self::Dead => "dead",
            Self::DeadNodePorts => "npdead",
            Self::Guarded => "guarded",
            Self::Allowed => "allowed",
            Self::Hairpin => "hairpin",
        }
    }
}

/// What is done with the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Cluster addresses: masquerade clients that are no pods.
    Internal,
    /// From outside to any endpoint: always masquerade, or the answer would go another way.
    External,
    /// From outside to local endpoints: keep the client's address.
    Local,
    /// From inside to a front that has another list for outside.
    Inside,
}

/// One chain that chooses among `count` endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Balance {
    pub(crate) kind: Kind,
    pub(crate) node_port: bool,
    pub(crate) count: usize,
    /// Seconds a client stays with its endpoint.
    pub(crate) affinity: Option<u32>,
}

impl Balance {
    pub(crate) fn name(self) -> String {
        let node_port = if self.node_port { "n" } else { "" };
        let kind = match self.kind {
            Kind::Internal => "lb",
            Kind::External => "xlb",
            Kind::Local => "loc",
            Kind::Inside => "in",
        };
        let affinity = self.affinity.map(|t| format!("a{t}")).unwrap_or_default();
        format!("{node_port}{kind}{}{affinity}", self.count)
    }

    pub(crate) fn verdict(self) -> String {
        format!("goto {}", self.name())
    }

    /// The chain named by a verdict, if it is one of these.
    pub(crate) fn parse(verdict: &str) -> Option<Self> {
        let name = verdict.strip_prefix("goto ")?;
        let (node_port, rest) = name.strip_prefix('n').map_or((false, name), |r| (true, r));
        let (kind, rest) = [
            ("lb", Kind::Internal),
            ("xlb", Kind::External),
            ("loc", Kind::Local),
            ("in", Kind::Inside),
        ]
        .into_iter()
        .find_map(|(prefix, kind)| Some((kind, rest.strip_prefix(prefix)?)))?;
        let (count, affinity) = match rest.split_once('a') {
            Some((count, seconds)) => (count, Some(seconds.parse().ok()?)),
            None => (rest, None),
        };
        Some(Self {
            kind,
            node_port,
            count: count.parse().ok()?,
            affinity,
        })
    }

    /// Declares the chain.
    pub(crate) fn text(self) -> String {
        const CLIENT: &str = "ip saddr . ip daddr . meta l4proto . th dport";
        let mut text = format!("add chain {TABLE} {name}\n", name = self.name());
        let mut rule = |rule: &str| {
            let _infallible = writeln!(text, "add rule {TABLE} {} {rule}", self.name());
        };
        if self.kind == Kind::External {
            rule("ct mark set ct mark or 0x4000");
        }
        let offset = if self.kind == Kind::Inside {
            format!(" offset {INSIDE}")
        } else {
            String::new()
        };
        rule(&format!("meta mark set numgen random mod {}{offset}", self.count));
        if let Some(seconds) = self.affinity {
            rule(&format!("meta mark set {CLIENT} map @aff"));
            rule(&format!(
                "update @aff {{ {CLIENT} timeout {seconds}s : meta mark }}"
            ));
        }
        let masquerade = if matches!(self.kind, Kind::Internal | Kind::Inside) {
            ""
        } else {
            "raw"
        };
        let node_port = if self.node_port { "np" } else { "" };
        rule(&format!("goto pick{masquerade}{node_port}"));
        text
    }
}

/// Everything that is there whatever Services exist. TCP is refused by a reset: an ICMP error comes back over a virtual device
/// while the socket is still locked by `connect`, is dropped, and the client waits a second for the next one. `pods`: the range of all pods; who is outside it is masqueraded.
/// Declaring and deleting the table first replaces an old one, all within one transaction.
pub(crate) fn base(pods: &str) -> String {
    const FRONT: &str = "ip daddr . meta l4proto . th dport";
    const PORT: &str = "meta l4proto . th dport";
    format!(
        "add table {TABLE}
delete table {TABLE}
table {TABLE} {{
  map svc {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map svcin {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map np {{ type inet_proto . inet_service : verdict; }}
  map npin {{ type inet_proto . inet_service : verdict; }}
  map eps {{ type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; }}
  map npeps {{ type inet_proto . inet_service . mark : ipv4_addr . inet_service; }}
  map dead {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
  map npdead {{ type inet_proto . inet_service : verdict; }}
  set guarded {{ type ipv4_addr . inet_proto . inet_service; }}
  set allowed {{ type ipv4_addr . inet_proto . inet_service . ipv4_addr; flags interval; }}
  set hairpin {{ type ipv4_addr . ipv4_addr; }}
  map aff {{ type ipv4_addr . ipv4_addr . inet_proto . inet_service : mark; flags dynamic,timeout; size 65535; timeout 3h; }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain pickrawdo {{ dnat ip to {FRONT} . meta mark map @eps; }}
  chain pickraw {{ goto pickrawdo; }}
  chain pick {{
    ip saddr != {pods} ct mark set ct mark or 0x4000
    goto pickrawdo
  }}
  chain pickrawnp {{ dnat ip to {PORT} . meta mark map @npeps; }}
  chain picknp {{
    ip saddr != {pods} ct mark set ct mark or 0x4000
    goto pickrawnp
  }}
  chain pre {{
    type nat hook prerouting priority -100; policy accept;
    ip saddr {pods} {FRONT} vmap @svcin
    {FRONT} vmap @svc
    ip saddr {pods} fib daddr type local {PORT} vmap @npin
    fib daddr type local {PORT} vmap @np
  }}
  chain out {{
    type nat hook output priority -100; policy accept;
    {FRONT} vmap @svcin
    {FRONT} vmap @svc
    ip daddr != 127.0.0.0/8 fib daddr type local {PORT} vmap @npin
    ip daddr != 127.0.0.0/8 fib daddr type local {PORT} vmap @np
  }}
  chain guard {{
    type filter hook prerouting priority -110; policy accept;
    ct state new {FRONT} @guarded {FRONT} . ip saddr != @allowed drop
  }}
  chain clear {{
    type filter hook prerouting priority -90; policy accept;
    ct state new ct status dnat meta mark set 0
  }}
  chain forw {{
    type filter hook forward priority -110; policy accept;
    ct state new {FRONT} vmap @dead
  }}
  chain inp {{
    type filter hook input priority -110; policy accept;
    ct state new {FRONT} vmap @dead
    ct state new fib daddr type local {PORT} vmap @npdead
  }}
  chain outf {{
    type filter hook output priority -110; policy accept;
    ct state new {FRONT} vmap @dead
    ct state new ip daddr != 127.0.0.0/8 fib daddr type local {PORT} vmap @npdead
  }}
  chain post {{
    type nat hook postrouting priority 100; policy accept;
    ct status dnat ct mark and 0x4000 == 0x4000 masquerade fully-random
    ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_its_chain_and_back() {
        for kind in [Kind::Internal, Kind::External, Kind::Local, Kind::Inside] {
            for (node_port, affinity) in [(false, None), (true, Some(10_800))] {
                let balance = Balance {
                    kind,
                    node_port,
                    count: 12,
                    affinity,
                };
                assert_eq!(Balance::parse(&balance.verdict()), Some(balance));
            }
        }
        for other in ["drop", "goto refuse", "accept"] {
            assert_eq!(Balance::parse(other), None);
        }
    }
}
