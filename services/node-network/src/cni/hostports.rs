//! Host ports: connections to a port of the node lead to a pod.
//!
//! Two maps in a table of our own, one for a given host address and one for any, so a pod costs elements and never a rule.

use crate::{NetworkError, tool};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// One host port, as containerd passes it in `runtimeConfig.portMappings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortMapping {
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    pub(crate) protocol: String,
    #[serde(default, rename = "hostIP")]
    pub(crate) host_ip: String,
}

/// Declares the table; repeating it changes nothing. Node ports of Services (priority -100) come first, as upstream has it.
const TABLE: &str = "\
table ip marina-hostports {
  map at { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map any { type inet_proto . inet_service : ipv4_addr . inet_service; }
  chain to {}
  chain pre { type nat hook prerouting priority -90; policy accept; }
  chain out { type nat hook output priority -90; policy accept; }
  chain post { type nat hook postrouting priority 90; policy accept; }
}
flush chain ip marina-hostports to
flush chain ip marina-hostports pre
flush chain ip marina-hostports out
flush chain ip marina-hostports post
table ip marina-hostports {
  chain to {
    dnat ip to ip daddr . meta l4proto . th dport map @at
    dnat ip to meta l4proto . th dport map @any
  }
  chain pre { fib daddr type local jump to; }
  chain out { fib daddr type local jump to; }
  chain post { ip saddr 127.0.0.0/8 ct status dnat masquerade; }
}
";

/// The map and the key of a mapping; `None` for a protocol or address that cannot be translated here.
fn element(mapping: &PortMapping) -> Option<(&'static str, String)> {
    let protocol = mapping.protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return None;
    }
    let key = format!("{protocol} . {}", mapping.host_port);
    match mapping.host_ip.as_str() {
        "" | "0.0.0.0" => Some(("any", key)),
        text => text
            .parse::<Ipv4Addr>()
            .ok()
            .map(|ip| ("at", format!("{ip} . {key}"))),
    }
}

pub(crate) fn add(pod: Ipv4Addr, mappings: &[PortMapping]) -> Result<(), NetworkError> {
    let mut batch = TABLE.to_owned();
    for mapping in mappings {
        let Some((map, key)) = element(mapping) else {
            continue;
        };
        // Declaring an element that is there with another value is an error; a stale one may be.
        let _infallible = writeln!(
            batch,
            "add element ip marina-hostports {map} {{ {key} : {pod} . {port} }}",
            port = mapping.container_port
        );
    }
    match tool::nft(&batch) {
        Ok(()) => Ok(()),
        Err(_stale) => {
            remove(mappings)?;
            tool::nft(&batch)
        }
    }
}

pub(crate) fn remove(mappings: &[PortMapping]) -> Result<(), NetworkError> {
    for (map, key) in mappings.iter().filter_map(element) {
        let batch = format!("delete element ip marina-hostports {map} {{ {key} }}");
        match tool::nft(&batch) {
            Err(NetworkError::Tool { message, .. }) if message.contains("No such file or directory") => {}
            other => other?,
        }
    }
    Ok(())
}
