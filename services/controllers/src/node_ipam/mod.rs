//! Each node gets a range of pod addresses out of its cluster's.
//!
//! Ranges are told by the nodes themselves (`spec.podCIDRs`); nothing else is stored. Ranges that were given out but do
//! not show in the cache yet are remembered here, so that two nodes that join together get different ones.

mod plan;

use crate::common::{Meta, Object};
use crate::kinds::Node;
use async_trait::async_trait;
use base::ClusterId;
use client::Patch;
use parking_lot::Mutex;
use runtime::{Controller, Cx, Error, EventType, Key, Next, Wiring};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A cluster's pod addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRange {
    /// First address.
    pub base: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
    /// Length of a node's prefix: 24 for IPv4, 64 for IPv6 by default.
    pub node_prefix: u8,
}

/// The pod ranges of a cluster, one for each address family; none if nodes get no range from us.
pub type PodRanges = Arc<dyn Fn(&ClusterId) -> Vec<PodRange> + Send + Sync>;

/// Ranges given to nodes that the cache does not show yet: node by range.
type Pending = HashMap<ClusterId, HashMap<String, String>>;

/// See the module. Keys are nodes.
pub(crate) struct NodeIpam {
    ranges: PodRanges,
    pending: Mutex<Pending>,
}

impl std::fmt::Debug for NodeIpam {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeIpam")
    }
}

impl NodeIpam {
    /// With the source of clusters' ranges.
    pub(crate) fn new(ranges: PodRanges) -> Self {
        Self {
            ranges,
            pending: Mutex::default(),
        }
    }

    /// Chooses ranges for a node and remembers them.
    fn choose(&self, cx: &Cx, name: &str) -> Result<Option<Vec<String>>, Error> {
        // Locked before the cache is read, so that what another worker chose is seen in one place or the other.
        let mut pending = self.pending.lock();
        let nodes: Vec<Node> = cx.list(None)?;
        let mut used: HashSet<String> = nodes.iter().flat_map(plan::ranges_of).collect();
        let known: HashSet<&str> = nodes.iter().map(|n| n.name()).collect();
        if let Some(mine) = pending.get_mut(cx.cluster()) {
            mine.retain(|range, node| !used.contains(range) && known.contains(node.as_str()) && node != name);
            used.extend(mine.keys().cloned());
        }
        let mut chosen = Vec::new();
        for range in (self.ranges)(cx.cluster()) {
            match plan::free(&range, &used) {
                Some(free) => chosen.push(free),
                None => return Ok(None),
            }
        }
        if !chosen.is_empty() {
            let mine = pending.entry(cx.cluster().clone()).or_default();
            mine.extend(chosen.iter().map(|r| (r.clone(), name.to_string())));
        }
        Ok(Some(chosen))
    }
}

#[async_trait]
impl Controller for NodeIpam {
    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn queue(&self) -> &'static str {
        "cidrallocator_node"
    }

    fn account(&self) -> &'static str {
        "node-controller"
    }

    fn wire(&self, w: &mut Wiring) {
        w.primary::<Node>().writes::<Node>(&["patch"]);
    }

    async fn reconcile(&self, cx: &Cx, _key: &Key) -> Result<Next, Error> {
        let Some(node) = cx.this::<Node>()? else {
            return Ok(Next::Done);
        };
        if node.deleting() || plan::ranges_of(&node).next().is_some() {
            return Ok(Next::Done);
        }
        match self.choose(cx, node.name())? {
            None => {
                let text = format!("Node {} status is now: CIDRNotAvailable", node.name());
                cx.event(&node, EventType::Normal, "CIDRNotAvailable", text);
                Ok(Next::After(Duration::from_secs(30)))
            }
            Some(chosen) if chosen.is_empty() => Ok(Next::Done),
            Some(chosen) => {
                let patch = json!({ "metadata": { "uid": node.uid() }, "spec": { "podCIDR": chosen[0], "podCIDRs": chosen } });
                match cx.patch::<Node>("", node.name(), &Patch::Strategic(patch)).await {
                    Err(e) if !e.is_not_found() => Err(e.into()),
                    _ => Ok(Next::Done),
                }
            }
        }
    }
}
