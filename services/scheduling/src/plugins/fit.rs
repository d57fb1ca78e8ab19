//! A node has room for what a pod asks for; of those that have, the emptier is the better (`LeastAllocated`).

use crate::framework::{Check, Events, MAX_SCORE, Plugin, Reason};
use crate::node::Node;
use crate::pod::Pod;
use crate::snapshot::Snapshot;
use std::ops::ControlFlow;

pub(super) struct Fit;

struct Room<'a>(&'a Pod);

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }
    fn wakes_on(&self) -> Events {
        Events::NODE.and(Events::POD_GONE)
    }
    fn start<'a>(&self, pod: &'a Pod, _snapshot: &'a Snapshot) -> Option<Box<dyn Check + 'a>> {
        Some(Box::new(Room(pod)))
    }
}

impl Room<'_> {
    /// What the node lacks, one after the other.
    fn lacking(
        &self,
        node: &Node,
        mut each: impl FnMut(Reason) -> ControlFlow<Reason>,
    ) -> ControlFlow<Reason> {
        let (all, used, asked) = (&node.allocatable, &node.used, &self.0.requests);
        let placed = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
        if placed.saturating_add(1) > all.pods {
            each("Too many pods".into())?;
        }
        let lacks = |asked: i64, used: i64, all: i64| asked > 0 && asked > all.saturating_sub(used);
        if lacks(asked.milli_cpu, used.milli_cpu, all.milli_cpu) {
            each("Insufficient cpu".into())?;
        }
        if lacks(asked.memory, used.memory, all.memory) {
            each("Insufficient memory".into())?;
        }
        if lacks(
            asked.ephemeral_storage,
            used.ephemeral_storage,
            all.ephemeral_storage,
        ) {
            each("Insufficient ephemeral-storage".into())?;
        }
        for (name, amount) in &asked.others {
            if lacks(*amount, used.other(name), all.other(name)) {
                each(format!("Insufficient {name}").into())?;
            }
        }
        ControlFlow::Continue(())
    }
}

impl Check for Room<'_> {
    fn filter(&self, node: &Node) -> Result<(), Reason> {
        match self.lacking(node, ControlFlow::Break) {
            ControlFlow::Break(first) => Err(first),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    fn reasons(&self, node: &Node, _first: Reason, say: &mut dyn FnMut(Reason)) {
        // It never breaks off.
        let _all = self.lacking(node, |why| {
            say(why);
            ControlFlow::Continue(())
        });
    }

    fn hopeless(&self, node: &Node) -> bool {
        let (all, asked) = (&node.allocatable, &self.0.requests);
        asked.milli_cpu > all.milli_cpu
            || asked.memory > all.memory
            || asked.ephemeral_storage > all.ephemeral_storage
            || asked
                .others
                .iter()
                .any(|(name, amount)| *amount > all.other(name))
    }

    fn scores(&self) -> bool {
        true
    }

    fn score(&self, node: &Node) -> i64 {
        let free = |used: i64, mine: i64, all: i64| {
            let wanted = used.saturating_add(mine);
            if all <= 0 || wanted > all {
                0
            } else {
                ((all - wanted) as i128 * MAX_SCORE as i128 / all as i128) as i64
            }
        };
        let cpu = free(node.nonzero.0, self.0.nonzero.0, node.allocatable.milli_cpu);
        let memory = free(node.nonzero.1, self.0.nonzero.1, node.allocatable.memory);
        (cpu + memory) / 2
    }
}
