//! Whether a node suits a pod, as far as a DaemonSet asks: name, labels, taints. (Resources and ports are the
//! scheduler's business.)

use super::Object;
use crate::kinds::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use crate::taint_eviction::tolerates;

fn holds(r: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = r.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|v| values.iter().any(|x| x == v));
    let number = |t: Option<&str>| t.and_then(|t| t.parse::<i64>().ok());
    match r.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value)
            .zip(number(values.first().map(String::as_str)))
            .is_some_and(|(a, b)| a > b),
        "Lt" => number(value)
            .zip(number(values.first().map(String::as_str)))
            .is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(key))
            .map(String::as_str)
    };
    expressions.iter().all(|r| holds(r, label(&r.key)))
        && fields
            .iter()
            .all(|r| holds(r, (r.key == "metadata.name").then(|| node.name())))
}

/// Whether node name, node selector and required node affinity allow the node.
pub(crate) fn selected(spec: &PodSpec, node: &Node) -> bool {
    if spec
        .node_name
        .as_deref()
        .is_some_and(|n| !n.is_empty() && n != node.name())
    {
        return false;
    }
    let labels = node.metadata.labels.as_ref();
    if spec
        .node_selector
        .iter()
        .flatten()
        .any(|(k, v)| labels.and_then(|l| l.get(k)) != Some(v))
    {
        return false;
    }
    let required = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = required.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|s| s.node_selector_terms.iter().any(|t| term_matches(t, node)))
}

/// Whether every taint of one of these effects is tolerated.
pub(crate) fn tolerated(spec: &PodSpec, node: &Node, effects: &[&str]) -> bool {
    let taints = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let mut asked = taints.iter().filter(|t| effects.contains(&t.effect.as_str()));
    asked.all(|taint| tolerations.iter().any(|t| tolerates(t, taint)))
}
