//! Where pods may run: tolerations, affinities and spreading.

use machinery::{Value, name};

use super::label_selector;
use crate::core::node::taint_effect;
use crate::{FieldErrors, Path};

/// What is wrong with tolerations.
pub(crate) fn tolerations(list: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (i, toleration) in list.iter().enumerate() {
        let at = path.index(i);
        let of = |field: &str| toleration[field].as_str().unwrap_or_default();
        if !of("key").is_empty() {
            errors.invalid_each(&at.child("key"), of("key"), name::qualified_name(of("key")));
        } else if of("operator") != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&at.child("operator"), of("operator").to_owned(), detail);
        }
        if !toleration["tolerationSeconds"].is_null() && of("effect") != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&at.child("effect"), of("effect").to_owned(), detail);
        }
        match of("operator") {
            "Equal" | "" => {
                let bad = name::label_value(of("value"));
                if !bad.is_empty() {
                    errors.invalid(&at.child("operator"), of("value").to_owned(), &bad.join(";"));
                }
            }
            "Exists" => {
                if !of("value").is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.invalid(&at.child("operator"), of("value").to_owned(), detail);
                }
            }
            other => errors.not_supported(&at.child("operator"), other.to_owned(), &["Equal", "Exists"]),
        }
        if !of("effect").is_empty() {
            taint_effect(&toleration["effect"], &at.child("effect"), errors);
        }
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What is wrong with affinities.
pub(crate) fn affinity(affinity: &Value, path: &Path, errors: &mut FieldErrors) {
    let (node, at) = (&affinity["nodeAffinity"], path.child("nodeAffinity"));
    if !node[REQUIRED].is_null() {
        node_selector(&node[REQUIRED], &at.child(REQUIRED), errors);
    }
    for (i, term) in node.list_at(&[PREFERRED]).iter().enumerate() {
        let at = at.child(PREFERRED).index(i);
        weight(term, &at, errors);
        node_term(&term["preference"], &at.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (pods, at) = (&affinity[kind], path.child(kind));
        for (i, term) in pods.list_at(&[REQUIRED]).iter().enumerate() {
            pod_term(term, &at.child(REQUIRED).index(i), errors);
        }
        for (i, term) in pods.list_at(&[PREFERRED]).iter().enumerate() {
            let at = at.child(PREFERRED).index(i);
            weight(term, &at, errors);
            pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut FieldErrors) {
    let n = term["weight"].as_i64().unwrap_or(0);
    if !(1..=100).contains(&n) {
        errors.invalid(&path.child("weight"), n, "must be in the range 1-100");
    }
}

/// What is wrong with a selector of nodes: it has at least one term.
pub(crate) fn node_selector(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    let (terms, at) = (
        selector.list_at(&["nodeSelectorTerms"]),
        path.child("nodeSelectorTerms"),
    );
    if terms.is_empty() {
        errors.required(&at, "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(term, &at.index(i), errors);
    }
}

fn node_term(term: &Value, path: &Path, errors: &mut FieldErrors) {
    for (i, requirement) in term.list_at(&["matchExpressions"]).iter().enumerate() {
        let at = path.child("matchExpressions").index(i);
        let values = requirement.list_at(&["values"]);
        match requirement["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(
                    &at.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                );
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&at.child("values"), detail);
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.required(&at.child("values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                errors.invalid(
                    &at.child("operator"),
                    other.to_owned(),
                    "not a valid selector operator",
                );
            }
        }
        let key = requirement["key"].as_str().unwrap_or_default();
        errors.invalid_each(&at.child("key"), key, name::qualified_name(key));
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            errors.invalid_each(&at.child("values").index(j), value, name::label_value(value));
        }
    }
    for (i, requirement) in term.list_at(&["matchFields"]).iter().enumerate() {
        let at = path.child("matchFields").index(i);
        let values = requirement.list_at(&["values"]);
        match requirement["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    let detail =
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.required(&at.child("values"), detail);
                }
            }
            other => {
                errors.invalid(
                    &at.child("operator"),
                    other.to_owned(),
                    "not a valid selector operator",
                );
            }
        }
        let key = requirement["key"].as_str().unwrap_or_default();
        if key != "metadata.name" {
            errors.invalid(&at.child("key"), key.to_owned(), "not a valid field selector key");
        }
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in ["labelSelector", "namespaceSelector"] {
        label_selector::validate(&term[field], &path.child(field), errors);
    }
    for namespace in term.list_at(&["namespaces"]).iter().filter_map(Value::as_str) {
        errors.invalid_each(
            &path.child("namespace"),
            namespace,
            name::dns1123_label(namespace),
        );
    }
    let at = path.child("topologyKey");
    let key = term["topologyKey"].as_str().unwrap_or_default();
    if key.is_empty() {
        errors.required(&at, "can not be empty");
    }
    errors.invalid_each(&at, key, name::qualified_name(key));
}

/// What is wrong with constraints of spreading.
pub(crate) fn spread(constraints: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (i, constraint) in constraints.iter().enumerate() {
        let at = path.index(i);
        let skew = constraint["maxSkew"].as_i64().unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&at.child("maxSkew"), skew, "must be greater than zero");
        }
        let key = constraint["topologyKey"].as_str().unwrap_or_default();
        if key.is_empty() {
            errors.required(&at.child("topologyKey"), "can not be empty");
        } else {
            errors.invalid_each(&at.child("topologyKey"), key, name::qualified_name(key));
        }
        let when = constraint["whenUnsatisfiable"].as_str().unwrap_or_default();
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            let known = ["DoNotSchedule", "ScheduleAnyway"];
            errors.not_supported(&at.child("whenUnsatisfiable"), when.to_owned(), &known);
        }
        let same = |c: &Value| {
            c["topologyKey"] == constraint["topologyKey"]
                && c["whenUnsatisfiable"] == constraint["whenUnsatisfiable"]
        };
        if constraints[i + 1..].iter().any(same) {
            errors.duplicate(
                &at.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{key}, {when}}}"),
            );
        }
        if let Some(n) = constraint["minDomains"].as_i64() {
            if n <= 0 {
                errors.invalid(&at.child("minDomains"), n, "must be greater than zero");
            }
            if when != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.invalid(&at.child("minDomains"), n, &detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if !constraint[field].is_null() {
                errors.enumeration(&at.child(field), &constraint[field], &["Honor", "Ignore"]);
            }
        }
        label_selector::validate(&constraint["labelSelector"], &at.child("labelSelector"), errors);
    }
}
