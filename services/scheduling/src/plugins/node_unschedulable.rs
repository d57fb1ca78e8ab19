//! Cordoned nodes take no new pods, except those that tolerate the taint that stands for it.

use crate::framework::{Check, Events, Plugin, Reason};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use crate::taints::{Effect, Taint};

pub(super) struct NodeUnschedulable;

struct Cordoned;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }
    fn wakes_on(&self) -> Events {
        Events::NODE
    }
    fn start<'a>(&self, pod: &'a Pod, _snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            value: String::new(),
            effect: Effect::NoSchedule,
        };
        let tolerated = pod.tolerations.iter().any(|t| t.tolerates(&taint));
        (!tolerated).then(|| Box::new(Cordoned) as _)
    }
}

impl Check for Cordoned {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        if node.unschedulable {
            Err("node(s) were unschedulable".into())
        } else {
            Ok(())
        }
    }
}
