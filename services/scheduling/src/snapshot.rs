//! All nodes of one cluster with what is placed on them. Changed in place by events; read by decisions.

use crate::node::Node;
use crate::pod::{Pod, PodKey};
use machinery::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The nodes of one cluster.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: Vec<Node>,
    by_name: HashMap<String, usize>,
    /// Where each placed pod is.
    places: HashMap<PodKey, String>,
    /// How many placed pods have required anti-affinity, on all nodes together.
    anti_affinity: usize,
}

impl Snapshot {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// The nodes, in no particular order; those nobody has described are left out by the framework.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.by_name.get(name).map(|at| &self.nodes[*at])
    }

    /// How many nodes have a Node object.
    pub fn known(&self) -> usize {
        self.nodes.iter().filter(|n| n.known).count()
    }

    /// Whether any placed pod has required anti-affinity.
    pub fn has_anti_affinity(&self) -> bool {
        self.anti_affinity > 0
    }

    /// Where a pod is placed.
    pub fn place_of(&self, key: &PodKey) -> Option<&str> {
        self.places.get(key).map(String::as_str)
    }

    fn entry(&mut self, name: &str) -> &mut Node {
        let at = match self.by_name.get(name) {
            Some(at) => *at,
            None => {
                self.nodes.push(Node::unknown(name));
                self.by_name.insert(name.to_owned(), self.nodes.len() - 1);
                self.nodes.len() - 1
            }
        };
        &mut self.nodes[at]
    }

    /// Takes over a Node object.
    pub fn set_node(&mut self, object: &Value) {
        if let Some(name) = object.str_at(&["metadata", "name"]) {
            self.entry(name).describe(object);
        }
    }

    /// The Node object is gone. Pods that still name it keep their place until they go, too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(&at) = self.by_name.get(name) else { return };
        self.nodes[at].known = false;
        self.forget_if_empty(name);
    }

    fn forget_if_empty(&mut self, name: &str) {
        let Some(&at) = self.by_name.get(name) else { return };
        if self.nodes[at].known || !self.nodes[at].pods.is_empty() {
            return;
        }
        self.by_name.remove(name);
        self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.by_name.insert(moved.name.clone(), at);
        }
    }

    /// Places a pod on a node, or moves it there. A finished pod takes no room.
    pub fn place(&mut self, pod: Arc<Pod>, node: &str) {
        self.displace(&pod.key);
        if pod.finished || node.is_empty() {
            return;
        }
        self.anti_affinity += usize::from(!pod.anti_affinity.is_empty());
        self.places.insert(pod.key.clone(), node.to_owned());
        self.entry(node).place(pod);
    }

    /// Takes a pod away; whether it was placed.
    pub fn displace(&mut self, key: &PodKey) -> bool {
        let Some(name) = self.places.remove(key) else {
            return false;
        };
        let node = self.entry(&name);
        let before = node.with_anti_affinity;
        let was = node.displace(key);
        let after = node.with_anti_affinity;
        self.anti_affinity = self.anti_affinity.saturating_sub(before.saturating_sub(after));
        self.forget_if_empty(&name);
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    #[test]
    fn placing_and_displacing_leaves_nothing_behind() {
        let mut snapshot = Snapshot::new();
        snapshot.set_node(&value!({"metadata": {"name": "a"}, "status": {"allocatable": {"cpu": "4"}}}));
        let pod = Arc::new(Pod::read(&value!({
            "metadata": {"name": "p", "namespace": "d"},
            "spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}, "ports": [{"hostPort": 80}]}]}
        })));
        snapshot.place(pod.clone(), "a");
        snapshot.place(pod.clone(), "b");
        assert_eq!(snapshot.node("a").unwrap().used.milli_cpu, 0, "it moved");
        assert_eq!(snapshot.node("b").unwrap().used.milli_cpu, 1000);
        assert_eq!(snapshot.known(), 1);
        assert!(snapshot.displace(&pod.key) && !snapshot.displace(&pod.key));
        assert!(
            snapshot.node("b").is_none(),
            "an unknown node without pods is forgotten"
        );
        snapshot.place(pod, "a");
        snapshot.remove_node("a");
        assert!(snapshot.node("a").is_some_and(|n| !n.known && n.ports.len() == 1));
    }
}
