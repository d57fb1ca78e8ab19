//! The first free range.

use super::PodRange;
use crate::kinds::Node;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Ranges tried before a cluster counts as full; more nodes than this are beyond what Kubernetes supports.
const MOST: u128 = 1 << 20;

pub(super) fn ranges_of(node: &Node) -> impl Iterator<Item = String> + '_ {
    let spec = node.spec.as_ref();
    let first = spec.and_then(|s| s.pod_cidr.clone()).filter(|c| !c.is_empty());
    let all = spec.and_then(|s| s.pod_cidrs.as_deref()).unwrap_or_default();
    let none = all.is_empty();
    all.iter().cloned().chain(first.filter(move |_| none))
}

pub(super) fn free(range: &PodRange, used: &HashSet<String>) -> Option<String> {
    let bits: u8 = if range.base.is_ipv4() { 32 } else { 128 };
    if range.prefix > range.node_prefix || range.node_prefix > bits {
        return None;
    }
    let count = 1u128
        .checked_shl(u32::from(range.node_prefix - range.prefix))
        .unwrap_or(MOST)
        .min(MOST);
    let step = 1u128
        .checked_shl(u32::from(bits - range.node_prefix))
        .unwrap_or(0);
    let first = match range.base {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    (0..count).find_map(|n| {
        let address = first.checked_add(n.checked_mul(step)?)?;
        let ip = match range.base {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(address).ok()?)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(address)),
        };
        let text = format!("{ip}/{}", range.node_prefix);
        (!used.contains(&text)).then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_in_order_until_there_is_none() {
        let range = PodRange {
            base: "10.244.0.0".parse().unwrap(),
            prefix: 22,
            node_prefix: 24,
        };
        let mut used = HashSet::new();
        let mut given = Vec::new();
        while let Some(free) = free(&range, &used) {
            used.insert(free.clone());
            given.push(free);
        }
        assert_eq!(
            given,
            ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"]
        );
        let six = PodRange {
            base: "fd00::".parse().unwrap(),
            prefix: 48,
            node_prefix: 64,
        };
        assert_eq!(
            free(&six, &HashSet::from(["fd00::/64".into()])).unwrap(),
            "fd00:0:0:1::/64"
        );
    }
}
