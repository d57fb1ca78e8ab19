//! When a container is restarted, and what a resize does to it.

use machinery::Value;

use crate::{FieldErrors, Path};

/// What is wrong with a container's own restart policy and its rules.
pub(crate) fn validate(container: &Value, path: &Path, errors: &mut FieldErrors) {
    let policy = &container["restartPolicy"];
    let rules = container.list_at(&["restartPolicyRules"]);
    let at = path.child("restartPolicy");
    match policy.as_str() {
        None if !rules.is_empty() => {
            errors.required(&at, "must specify restartPolicy when restart rules are used");
        }
        Some(text) if !matches!(text, "Always" | "Never" | "OnFailure") => {
            errors.not_supported(&at, text.to_owned(), &["Always", "Never", "OnFailure"]);
        }
        _ => {}
    }
    let at = path.child("restartPolicyRules");
    if rules.len() > 20 {
        errors.too_many(&at, rules.len(), 20);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        let action = rule["action"].as_str().unwrap_or_default();
        let known = ["Restart", "RestartAllContainers"];
        if !known.contains(&action) {
            errors.not_supported(&at.child("action"), action.to_owned(), &known);
        }
        let (codes, at) = (&rule["exitCodes"], at.child("exitCodes"));
        if codes.is_null() {
            errors.required(&at, "must be specified");
            continue;
        }
        let operator = codes["operator"].as_str().unwrap_or_default();
        if !matches!(operator, "In" | "NotIn") {
            errors.not_supported(&at.child("operator"), operator.to_owned(), &["In", "NotIn"]);
        }
        let values = codes.list_at(&["values"]).len();
        if values > 255 {
            errors.too_many(&at.child("values"), values, 255);
        }
    }
}

/// What is wrong with what a resize may do. As upstream, messages name the list, not the item.
pub(crate) fn validate_resize(container: &Value, pod_policy: &str, path: &Path, errors: &mut FieldErrors) {
    let list = container.list_at(&["resizePolicy"]);
    let at = path.child("resizePolicy");
    for (i, policy) in list.iter().enumerate() {
        if list[..i]
            .iter()
            .any(|p| p["resourceName"] == policy["resourceName"])
        {
            errors.duplicate(&at.index(i), policy["resourceName"].clone());
        }
        errors.enumeration(&at, &policy["resourceName"], &["cpu", "memory"]);
        errors.enumeration(
            &at,
            &policy["restartPolicy"],
            &["NotRequired", "RestartContainer"],
        );
        if pod_policy == "Never" && policy["restartPolicy"].as_str() != Some("NotRequired") {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.invalid(&at, policy["restartPolicy"].clone(), detail);
        }
    }
}
