//! Addresses and ports of Services, taken in the same transaction as the Service itself.
//!
//! Each address and each port is a key of its own, and taking it is "write this key if it is not there": two Services
//! can never get the same one, and there is no bitmap to fight over or to repair. Addresses are `IPAddress` objects as
//! upstream's allocator keeps them since 1.33; ports have no API object, so their keys lie beside the registry's.

mod service;

use crate::registry::{Extra, Op};
use crate::status::{ApiError, Result};
use machinery::{Value, value};
use rand::Rng;
use std::net::Ipv4Addr;
use store_api::{Compare, Consistency, Key, Op as StoreOp, Range, Span};

/// The ports that Services of type NodePort get.
pub(crate) const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
/// Random picks before the whole range is looked at.
const PICKS: usize = 16;

/// What a new object takes; fills in what was picked.
pub(crate) async fn on_create(op: &Op<'_>, object: &mut Value, dry_run: bool) -> Result<Extra> {
    if !op.kind.is("", "services") {
        return Ok(Extra::default());
    }
    service::fill(op, object, &Value::Null, dry_run).await
}

/// What a changed object takes and gives back.
pub(crate) async fn on_update(op: &Op<'_>, new: &mut Value, old: &Value, dry_run: bool) -> Result<Extra> {
    if !op.kind.is("", "services") {
        return Ok(Extra::default());
    }
    service::fill(op, new, old, dry_run).await
}

/// What a deleted object gives back.
pub(crate) fn on_delete(op: &Op<'_>, object: &Value) -> Result<Extra> {
    if !op.kind.is("", "services") {
        return Ok(Extra::default());
    }
    service::release(op, object)
}

/// A range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    first: u32,
    bits: u32,
}

impl Cidr {
    /// Reads `10.96.0.0/16`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let bits: u32 = bits.parse().ok().filter(|b| (8..=30).contains(b))?;
        let address: Ipv4Addr = address.parse().ok()?;
        let mask = u32::MAX << (32 - bits);
        Some(Self {
            first: u32::from(address) & mask,
            bits,
        })
    }

    /// The `n`th address; the zeroth is the network's own.
    pub(crate) fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first.saturating_add(n))
    }

    fn size(self) -> u32 {
        1 << (32 - self.bits)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(self.first);
        offset > 0 && offset < self.size() - 1
    }

    /// Addresses below this offset are kept for Services that ask for one by name (upstream's lower band).
    fn lower_band(self) -> u32 {
        (self.size() / 16).clamp(16, 256).min(self.size() / 2)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.nth(0), self.bits)
    }
}

/// The cluster's range of service addresses.
pub(crate) fn service_range(op: &Op<'_>) -> Result<Cidr> {
    Cidr::parse(&op.cx.cluster.service_cidr)
        .ok_or_else(|| ApiError::internal(format!("bad service range {:?}", op.cx.cluster.service_cidr)))
}

fn address_key(op: &Op<'_>, address: &str) -> Result<Key> {
    Key::object(op.cx.cluster_id(), "ipaddresses", None, address)
        .map_err(|e| ApiError::internal(e.to_string()))
}

fn port_key(op: &Op<'_>, port: u16) -> Result<Key> {
    Key::object(op.cx.cluster_id(), "ranges/nodeports", None, &port.to_string())
        .map_err(|e| ApiError::internal(e.to_string()))
}

async fn is_taken(op: &Op<'_>, key: &Key) -> Result<bool> {
    let range = Range {
        span: Span::one(key),
        at: None,
        limit: 1,
        consistency: Consistency::Local,
    };
    let result = op.server.store().range(range).await;
    let result = result.map_err(|e| crate::storage::store_error(e, op.kind, "get"))?;
    Ok(!result.records.is_empty())
}

/// The names of all keys beside this one.
async fn all_taken(op: &Op<'_>, resource: &str) -> Result<Vec<String>> {
    let span = Span::collection(op.cx.cluster_id(), resource, None)
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let range = Range {
        span,
        at: None,
        limit: 0,
        consistency: Consistency::Local,
    };
    let result = op.server.store().range(range).await;
    let result = result.map_err(|e| crate::storage::store_error(e, op.kind, "list"))?;
    Ok(result.records.iter().map(|r| r.key.name().to_owned()).collect())
}

/// A free address, at random from the upper band, and only then from the lower one.
async fn pick_address(op: &Op<'_>, range: Cidr) -> Result<Option<Ipv4Addr>> {
    let lower = range.lower_band();
    for _ in 0..PICKS {
        let offset = rand::rng().random_range(lower..range.size() - 1);
        if !is_taken(op, &address_key(op, &range.nth(offset).to_string())?).await? {
            return Ok(Some(range.nth(offset)));
        }
    }
    let taken: std::collections::HashSet<String> = all_taken(op, "ipaddresses").await?.into_iter().collect();
    let mut order = (lower..range.size() - 1).chain(1..lower);
    Ok(order.find_map(|n| Some(range.nth(n)).filter(|a| !taken.contains(&a.to_string()))))
}

/// A free port at random.
async fn pick_port(op: &Op<'_>, avoid: &[u16]) -> Result<Option<u16>> {
    for _ in 0..PICKS {
        let port = rand::rng().random_range(NODE_PORTS);
        if !avoid.contains(&port) && !is_taken(op, &port_key(op, port)?).await? {
            return Ok(Some(port));
        }
    }
    let taken: std::collections::HashSet<String> =
        all_taken(op, "ranges/nodeports").await?.into_iter().collect();
    Ok(NODE_PORTS
        .into_iter()
        .find(|p| !avoid.contains(p) && !taken.contains(&p.to_string())))
}

/// Takes an address for a Service, in the transaction that `extra` goes into.
fn take_address(
    op: &Op<'_>,
    address: Ipv4Addr,
    namespace: &str,
    name: &str,
    extra: &mut Extra,
) -> Result<()> {
    let key = address_key(op, &address.to_string())?;
    let object = ip_address(&address, namespace, name, &op.cx.timestamp());
    let kind = op.reader.kind("networking.k8s.io", "ipaddresses")?;
    extra.compares.push(Compare::absent(key.clone()));
    extra
        .ops
        .push(StoreOp::put(key, crate::storage::dump(&object, &kind)?));
    Ok(())
}

/// The `IPAddress` object of a Service's address.
pub(crate) fn ip_address(address: &Ipv4Addr, namespace: &str, name: &str, timestamp: &str) -> Value {
    value!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": (address.to_string()),
            "uid": (crate::registry::meta::new_uid()),
            "creationTimestamp": (timestamp.to_owned()),
            "labels": {
                "ipaddress.kubernetes.io/ip-family": "IPv4",
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"
            }
        },
        "spec": {"parentRef": {"resource": "services", "namespace": (namespace.to_owned()), "name": (name.to_owned())}}
    })
}

fn take_port(op: &Op<'_>, port: u16, namespace: &str, name: &str, extra: &mut Extra) -> Result<()> {
    let key = port_key(op, port)?;
    extra.compares.push(Compare::absent(key.clone()));
    extra
        .ops
        .push(StoreOp::put(key, format!("{namespace}/{name}").into()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_and_broadcast_addresses_are_never_given() {
        let range = Cidr::parse("10.96.0.0/28").unwrap();
        assert_eq!(range.nth(1), Ipv4Addr::new(10, 96, 0, 1));
        assert!(
            !range.contains(range.nth(0)) && !range.contains(range.nth(15)) && range.contains(range.nth(14))
        );
        assert!(range.lower_band() < range.size() - 1);
        assert!(Cidr::parse("10.96.0.0/33").is_none() && Cidr::parse("x").is_none());
    }
}
