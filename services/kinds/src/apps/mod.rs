//! Kinds of the group `apps`.

pub(crate) mod controller_revision;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;

use machinery::{Value, selector::Selector};

use crate::types::{label_selector, pod_template};
use crate::{FieldErrors, Path};

/// Selector and template of a workload: the selector is needed, not empty, and matches the template's labels. `kind` is
/// how messages call the workload.
pub(crate) fn validate_selector_and_template(
    spec: &Value,
    template: &Value,
    kind: &str,
    errors: &mut FieldErrors,
) {
    let path = Path::new("spec");
    let (selector, at) = (&spec["selector"], path.child("selector"));
    let empty = selector["matchLabels"].is_zero() && selector["matchExpressions"].is_zero();
    if selector.is_null() {
        // Upstream forgot DaemonSets here; those fail below, since nothing matches.
        if kind != "DaemonSet" {
            errors.required(&at, "");
        }
    } else {
        label_selector::validate(selector, &at, errors);
        if empty {
            let owner = if kind == "ReplicaSet" {
                "deployment".to_owned()
            } else {
                kind.to_lowercase()
            };
            let detail = format!("empty selector is invalid for {owner}");
            errors.invalid(&at, selector.clone(), &detail);
        }
    }
    let under = path.child("template");
    match Selector::from_object(selector) {
        Err(_) if kind == "StatefulSet" => errors.invalid(&at, selector.clone(), ""),
        Err(_) if kind == "DaemonSet" => {}
        Err(_) => {
            // Upstream does not look at the template then.
            errors.invalid(&at, selector.clone(), "invalid label selector");
            return;
        }
        Ok(parsed) => {
            let labels = template.at(&["metadata", "labels"]);
            if !parsed.matches_map(labels) {
                let detail = "`selector` does not match template `labels`";
                errors.invalid(&under.child("metadata.labels"), labels.clone(), detail);
            }
        }
    }
    // Deployments make ReplicaSets, whose words upstream uses.
    let holder = if kind == "Deployment" { "ReplicaSet" } else { kind };
    pod_template::validate_always(template, holder, &under, errors);
}

/// A number of pods or a percentage of them.
pub(crate) fn count_or_percent(value: &Value, path: &Path, errors: &mut FieldErrors) {
    match value {
        Value::Int(n) if *n < 0 => errors.invalid(path, *n, "must be greater than or equal to 0"),
        Value::Str(s) => {
            for message in machinery::name::percent(s) {
                errors.invalid(path, s.to_string(), &message);
            }
            let over = s
                .strip_suffix('%')
                .and_then(|n| n.parse::<i64>().ok())
                .is_some_and(|n| n > 100);
            if over {
                errors.invalid(path, s.to_string(), "must not be greater than 100%");
            }
        }
        _ => {}
    }
}

/// Whether a number or percentage is nothing.
pub(crate) fn is_none(value: &Value) -> bool {
    match value {
        Value::Int(n) => *n == 0,
        Value::Str(s) => s.trim_end_matches('%').parse() == Ok(0),
        _ => true,
    }
}

/// Counts of a status are not negative, and none is larger than `replicas`.
pub(crate) fn status_counts(status: &Value, fields: &[&str], errors: &mut FieldErrors) {
    let path = Path::new("status");
    let total = status["replicas"].as_i64().unwrap_or(0);
    errors.nonnegative(&path.child("observedGeneration"), &status["observedGeneration"]);
    for field in fields {
        errors.nonnegative(&path.child(field), &status[*field]);
        let n = status[*field].as_i64().unwrap_or(0);
        if n > total {
            errors.invalid(&path.child(field), n, "cannot be greater than status.replicas");
        }
    }
    let available = status["availableReplicas"].as_i64().unwrap_or(0);
    if available > status["readyReplicas"].as_i64().unwrap_or(0) {
        let detail = "cannot be greater than readyReplicas";
        errors.invalid(&path.child("availableReplicas"), available, detail);
    }
}
