//! Kinds of the group `apps`.

pub(crate) mod controller_revision;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;

use machinery::{Value, selector::Selector};

use crate::types::{label_selector, pod_template};
use crate::{FieldErrors, Path};

/// Selector and template of a workload: the selector is needed, not empty, and matches the template's labels.
pub(crate) fn validate_selector_and_template(spec: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec");
    let (selector, at) = (&spec["selector"], path.child("selector"));
    if selector.is_null() {
        errors.required(&at, "");
    } else {
        label_selector::validate(selector, &at, errors);
        if selector["matchLabels"].is_zero() && selector["matchExpressions"].is_zero() {
            errors.invalid(&at, selector.clone(), "empty selector is invalid for deployment");
        }
    }
    let template = path.child("template");
    match Selector::from_object(selector) {
        Err(_) => errors.invalid(&at, selector.clone(), "invalid label selector"),
        Ok(parsed) => {
            let labels = spec.at(&["template", "metadata", "labels"]);
            if !parsed.is_everything() && !selector.is_null() && !parsed.matches_map(labels) {
                let detail = "`selector` does not match template `labels`";
                errors.invalid(&template.child("metadata.labels"), labels.clone(), detail);
            }
        }
    }
    pod_template::validate_always(&spec["template"], &template, errors);
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
