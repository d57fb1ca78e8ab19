//! Two pods cannot have one port of one node.

use crate::framework::{Check, Events, Plugin, Reason};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) struct NodePorts;

struct Ports<'a>(&'a Pod);

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }
    fn wakes_on(&self) -> Events {
        Events::NODE.and(Events::POD_GONE)
    }
    fn start<'a>(&self, pod: &'a Pod, _snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        (!pod.host_ports.is_empty()).then(|| Box::new(Ports(pod)) as _)
    }
}

impl Check for Ports<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        let taken = |port| node.ports.iter().any(|other| other.conflicts(port));
        if self.0.host_ports.iter().any(taken) {
            Err("node(s) didn't have free ports for the requested pod ports".into())
        } else {
            Ok(())
        }
    }
}
