//! Terms of affinity: which nodes (node affinity) and which neighbours (pod affinity).

use crate::node::Node;
use crate::pod::Pod;
use machinery::Value;
use machinery::selector::{Operator, Requirement, Selector};

/// One `nodeSelectorTerm`: all of its requirements hold. A term without any matches nothing.
#[derive(Clone, Debug)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    /// On `metadata.name`: the only field that may be named.
    fields: Vec<Requirement>,
}

/// A term with a weight.
#[derive(Clone, Debug)]
pub struct Weighted<T> {
    pub weight: i64,
    pub term: T,
}

fn requirements(list: &[Value]) -> Option<Vec<Requirement>> {
    list.iter()
        .map(|r| {
            let operator = match r.str_at(&["operator"])? {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                "Gt" => Operator::GreaterThan,
                "Lt" => Operator::LessThan,
                _ => return None,
            };
            let values = r
                .list_at(&["values"])
                .iter()
                .filter_map(|v| Some(v.as_str()?.to_owned()))
                .collect();
            Requirement::new(r.str_at(&["key"])?, operator, values).ok()
        })
        .collect()
}

impl NodeTerm {
    /// Reads a term; one that makes no sense matches nothing.
    pub fn read(term: &Value) -> Self {
        let read = |key| requirements(term.list_at(&[key]));
        match (read("matchExpressions"), read("matchFields")) {
            (Some(labels), Some(fields)) => Self { labels, fields },
            _ => Self {
                labels: Vec::new(),
                fields: Vec::new(),
            },
        }
    }

    /// Whether a node has what the term asks for.
    pub fn matches(&self, node: &Node) -> bool {
        if self.labels.is_empty() && self.fields.is_empty() {
            return false;
        }
        let named = |r: &Requirement| r.key() == "metadata.name" && r.holds(Some(&node.name));
        self.labels.iter().all(|r| r.holds(node.label(r.key()))) && self.fields.iter().all(named)
    }
}

/// A pod (anti-)affinity term.
#[derive(Clone, Debug)]
pub struct PodTerm {
    pub topology_key: String,
    selector: Selector,
    namespaces: Vec<String>,
    /// `namespaceSelector: {}`: every namespace. A selector with requirements is resolved by the caller into names.
    all_namespaces: bool,
}

impl PodTerm {
    /// Reads a term of a pod with these labels and this namespace.
    pub fn read(term: &Value, namespace: &str, labels: &[(String, String)]) -> Self {
        let mut selector = match &term["labelSelector"] {
            Value::Null => Selector::nothing(),
            object => Selector::from_object(object).unwrap_or_else(|_| Selector::nothing()),
        };
        for (key, operator) in [
            ("matchLabelKeys", Operator::In),
            ("mismatchLabelKeys", Operator::NotIn),
        ] {
            for name in term.list_at(&[key]).iter().filter_map(Value::as_str) {
                let Some((_, value)) = labels.iter().find(|(k, _)| k == name) else {
                    continue;
                };
                if let Ok(requirement) = Requirement::new(name, operator, vec![value.clone()]) {
                    let mut all = selector.requirements().to_vec();
                    all.push(requirement);
                    selector = Selector::new(all);
                }
            }
        }
        let mut namespaces: Vec<String> = term
            .list_at(&["namespaces"])
            .iter()
            .filter_map(|v| Some(v.as_str()?.to_owned()))
            .collect();
        let by_selector = &term["namespaceSelector"];
        if namespaces.is_empty() && by_selector.is_null() {
            namespaces.push(namespace.to_owned());
        }
        let all_namespaces = by_selector
            .as_map()
            .is_some_and(|m| m.is_empty() || m.iter().all(|(_, v)| v.is_zero()));
        Self {
            topology_key: term.str_at(&["topologyKey"]).unwrap_or_default().to_owned(),
            selector,
            namespaces,
            all_namespaces,
        }
    }

    /// Whether a pod is one the term speaks of.
    pub fn matches(&self, pod: &Pod) -> bool {
        (self.all_namespaces || self.namespaces.contains(&pod.key.namespace))
            && self.selector.matches_by(|key| pod.label(key))
    }
}

/// Terms of one kind under `spec.affinity`.
pub fn pod_terms(spec: &Value, kind: &str, namespace: &str, labels: &[(String, String)]) -> Vec<PodTerm> {
    spec.at(&["affinity", kind])
        .list_at(&["requiredDuringSchedulingIgnoredDuringExecution"])
        .iter()
        .map(|term| PodTerm::read(term, namespace, labels))
        .collect()
}

/// Preferred terms of one kind under `spec.affinity`.
pub fn preferred_pod_terms(
    spec: &Value,
    kind: &str,
    namespace: &str,
    labels: &[(String, String)],
) -> Vec<Weighted<PodTerm>> {
    spec.at(&["affinity", kind])
        .list_at(&["preferredDuringSchedulingIgnoredDuringExecution"])
        .iter()
        .map(|w| Weighted {
            weight: w.int_at(&["weight"]).unwrap_or(0),
            term: PodTerm::read(&w["podAffinityTerm"], namespace, labels),
        })
        .collect()
}
