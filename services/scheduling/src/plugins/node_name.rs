//! A pod that names a node runs there or nowhere.

use crate::framework::{Check, Events, Plugin, Reason};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;

pub(super) struct NodeName;

struct Named<'a>(&'a str);

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }
    fn wakes_on(&self) -> Events {
        Events::NODE
    }
    fn start<'a>(&self, pod: &'a Pod, _snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        (!pod.node_name.is_empty()).then(|| Box::new(Named(&pod.node_name)) as _)
    }
}

impl Check for Named<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        if node.name == self.0 {
            Ok(())
        } else {
            Err("node(s) didn't match the requested node name".into())
        }
    }
}
