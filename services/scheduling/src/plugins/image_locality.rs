//! Nodes that have a pod's large images are better, the less the image is spread.

use crate::framework::{Check, Events, MAX_SCORE, Plugin};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use std::collections::HashMap;

pub(super) struct ImageLocality;

const MB: i64 = 1024 * 1024;
/// Smaller sums count nothing.
const MIN: i64 = 23 * MB;
/// For each container, larger sums count no more.
const MAX: i64 = 1000 * MB;

struct Locality {
    containers: i64,
    nodes: i64,
    /// Full image name → on how many nodes it is.
    spread: HashMap<String, i64>,
}

/// `name` as nodes list it: with `:latest` where there is neither tag nor digest.
fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') {
        image.into()
    } else {
        format!("{image}:latest")
    }
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
    fn wakes_on(&self) -> Events {
        Events(0)
    }
    fn start<'a>(&self, pod: &'a Pod, snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        let mut spread: HashMap<String, i64> = pod.images.iter().map(|i| (normalized(i), 0)).collect();
        for (name, size) in snapshot.nodes().iter().flat_map(|n| &n.images) {
            if *size >= MIN
                && let Some(count) = spread.get_mut(name)
            {
                *count += 1;
            }
        }
        spread.retain(|_, count| *count > 0);
        (!spread.is_empty()).then(|| {
            let containers = i64::try_from(pod.images.len()).unwrap_or(1);
            let nodes = i64::try_from(snapshot.known()).unwrap_or(1);
            Box::new(Locality {
                containers,
                nodes: nodes.max(1),
                spread,
            }) as _
        })
    }
}

impl Check for Locality {
    fn scores(&self) -> bool {
        true
    }

    fn score(&self, node: &Node) -> i64 {
        let here = node.images.iter().filter_map(|(name, size)| {
            let count = self.spread.get(name)?;
            Some(size.saturating_mul(*count) / self.nodes)
        });
        let most = MAX.saturating_mul(self.containers);
        let sum = here.sum::<i64>().clamp(MIN, most.max(MIN));
        if most <= MIN {
            0
        } else {
            MAX_SCORE * (sum - MIN) / (most - MIN)
        }
    }
}
