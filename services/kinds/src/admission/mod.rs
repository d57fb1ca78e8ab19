//! Kinds of the group `admissionregistration.k8s.io`.

pub(crate) mod mutating_policy;
pub(crate) mod policy_binding;
pub(crate) mod validating_policy;
pub(crate) mod webhooks;

use machinery::{Map, Value};

use crate::edit::{each, fill};
use crate::types::label_selector;
use crate::{FieldErrors, Path};

/// Defaults of what a webhook or a policy matches.
pub(crate) fn default_match(map: &mut Map) {
    fill(map, "matchPolicy", "Equivalent");
    fill(map, "namespaceSelector", Map::new());
    fill(map, "objectSelector", Map::new());
    for key in ["rules", "resourceRules", "excludeResourceRules"] {
        each(map, key, |rule| fill(rule, "scope", "*"));
    }
}

/// What is wrong with selectors and rules.
pub(crate) fn validate_match(map: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector::validate(&map[field], &path.child(field), errors);
    }
    if !map["matchPolicy"].is_null() {
        errors.enumeration(
            &path.child("matchPolicy"),
            &map["matchPolicy"],
            &["Equivalent", "Exact"],
        );
    }
    for key in ["rules", "resourceRules", "excludeResourceRules"] {
        for (i, rule) in map.list_at(&[key]).iter().enumerate() {
            validate_rule(rule, &path.child(key).index(i), errors);
        }
    }
}

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

fn validate_rule(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in ["operations", "apiGroups", "apiVersions", "resources"] {
        let (list, at) = (rule.list_at(&[field]), path.child(field));
        if list.is_empty() {
            errors.required(&at, "");
        }
        if field != "resources" && list.len() > 1 && list.iter().any(|v| v.as_str() == Some("*")) {
            let what = match field {
                "operations" => "if '*' is present, must not specify other operations",
                "apiGroups" => "if '*' is present, must not specify other API groups",
                _ => "if '*' is present, must not specify other API versions",
            };
            errors.invalid(&at, rule[field].clone(), what);
        }
        for (i, value) in list.iter().enumerate() {
            if field == "operations" {
                errors.enumeration(&at.index(i), value, &OPERATIONS);
            } else if field != "apiGroups" && value.is_zero() {
                errors.required(&at.index(i), "");
            }
        }
    }
    if !rule["scope"].is_null() {
        errors.enumeration(
            &path.child("scope"),
            &rule["scope"],
            &["*", "Cluster", "Namespaced"],
        );
    }
}
