//! A node, reduced to what scheduling decides on, with what is placed on it.

use crate::pod::{HostPort, Pod, PodKey};
use crate::resources::Resources;
use crate::taints::{Taint, read_taints};
use machinery::Value;
use std::sync::Arc;

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    /// Images it has, with their sizes in bytes.
    pub images: Vec<(String, i64)>,
    /// Requests of everything placed here.
    pub used: Resources,
    /// The same as [`crate::resources::nonzero_of_pod`] counts.
    pub nonzero: (i64, i64),
    pub pods: Vec<Arc<Pod>>,
    pub ports: Vec<HostPort>,
    /// How many of the pods here have required anti-affinity: zero for nearly all, so that looking is cheap.
    pub with_anti_affinity: usize,
    /// Whether a Node object stands behind it. Pods may be seen before their node.
    pub known: bool,
}

impl Node {
    /// A place that pods name and nobody has described yet.
    pub fn unknown(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            labels: Vec::new(),
            taints: Vec::new(),
            unschedulable: false,
            allocatable: Resources::default(),
            images: Vec::new(),
            used: Resources::default(),
            nonzero: (0, 0),
            pods: Vec::new(),
            ports: Vec::new(),
            with_anti_affinity: 0,
            known: false,
        }
    }

    /// Takes over what a Node object says; what is placed here stays.
    pub fn describe(&mut self, object: &Value) {
        let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
        let labels = meta["labels"].as_map().into_iter().flat_map(|m| m.iter());
        self.labels = labels
            .map(|(k, v)| (k.to_owned(), v.as_str().unwrap_or_default().to_owned()))
            .collect();
        self.taints = read_taints(spec);
        self.unschedulable = spec["unschedulable"].as_bool().unwrap_or(false);
        self.allocatable = Resources::read(&status["allocatable"]);
        self.images = status
            .list_at(&["images"])
            .iter()
            .flat_map(|image| {
                let size = image.int_at(&["sizeBytes"]).unwrap_or(0);
                let names = image.list_at(&["names"]).iter().filter_map(Value::as_str);
                names.map(move |name| (name.to_owned(), size))
            })
            .collect();
        self.known = true;
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Places a pod here.
    pub fn place(&mut self, pod: Arc<Pod>) {
        self.count(&pod, 1);
        self.ports.extend(pod.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Takes a pod away; whether it was here.
    pub fn displace(&mut self, key: &PodKey) -> bool {
        let Some(at) = self.pods.iter().position(|p| p.key == *key) else {
            return false;
        };
        let pod = self.pods.swap_remove(at);
        self.count(&pod, -1);
        if !pod.host_ports.is_empty() {
            self.ports = self
                .pods
                .iter()
                .flat_map(|p| p.host_ports.iter().cloned())
                .collect();
        }
        true
    }

    fn count(&mut self, pod: &Pod, times: i64) {
        self.used.add(&pod.requests, times);
        self.nonzero.0 = self.nonzero.0.saturating_add(pod.nonzero.0.saturating_mul(times));
        self.nonzero.1 = self.nonzero.1.saturating_add(pod.nonzero.1.saturating_mul(times));
        if !pod.anti_affinity.is_empty() {
            self.with_anti_affinity = if times > 0 {
                self.with_anti_affinity + 1
            } else {
                self.with_anti_affinity.saturating_sub(1)
            };
        }
    }
}
