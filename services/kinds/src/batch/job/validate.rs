//! What is wrong with a job.

use machinery::{Value, name, selector::Selector};

use super::{CONTROLLER_UID, JOB_NAME};
use crate::types::{label_selector, pod_template};
use crate::{FieldErrors, Path, equal};

pub(super) fn job(object: &Value, errors: &mut FieldErrors) {
    let (job_spec, path) = (&object["spec"], Path::new("spec"));
    generated_selector(object, errors);
    spec(job_spec, &path, errors);
    let at = path.child("selector");
    if job_spec["selector"].is_null() {
        errors.required(&at, "");
    } else {
        label_selector::validate(&job_spec["selector"], &at, errors);
    }
    let labels = job_spec.at(&["template", "metadata", "labels"]);
    if Selector::from_object(&job_spec["selector"]).is_ok_and(|s| !s.matches_map(labels)) {
        let at = path.child("template.metadata.labels");
        errors.invalid(&at, labels.clone(), "`selector` does not match template `labels`");
    }
    let indexed = job_spec["completionMode"].as_str() == Some("Indexed");
    if let Some(n) = job_spec["completions"].as_i64().filter(|n| *n > 0 && indexed) {
        let text = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let longest = format!("{text}-{}", n - 1);
        if !name::dns1123_label(&longest).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.invalid(&Path::new("metadata.name"), text.to_owned(), &detail);
        }
    }
}

/// The labels that tie a job's pods to it must be there unless the user chose a selector.
fn generated_selector(object: &Value, errors: &mut FieldErrors) {
    let job_spec = &object["spec"];
    if job_spec["manualSelector"].as_bool() == Some(true) || job_spec["selector"].is_null() {
        return;
    }
    let text = |path: &[&str]| object.str_at(path).unwrap_or_default();
    let (uid, job_name) = (text(&["metadata", "uid"]), text(&["metadata", "name"]));
    if uid.is_empty() {
        errors.required(&Path::new("metadata.uid"), "");
    }
    let at = Path::new("spec.template.metadata.labels");
    let labels = job_spec.at(&["template", "metadata", "labels"]);
    for (key, want) in [
        (CONTROLLER_UID[0], uid),
        (JOB_NAME[0], job_name),
        (CONTROLLER_UID[1], uid),
        (JOB_NAME[1], job_name),
    ] {
        match labels[key].as_str() {
            None => errors.required(&at.key(key), &format!("must be '{want}'")),
            Some(have) if have != want => {
                errors.invalid(&at.key(key), labels.clone(), &format!("must be '{want}'"));
            }
            Some(_) => {}
        }
    }
    let expected = |key: &str| {
        if CONTROLLER_UID.contains(&key) {
            Some(uid)
        } else {
            JOB_NAME.contains(&key).then_some(job_name)
        }
    };
    if Selector::from_object(&job_spec["selector"]).is_ok_and(|s| !s.matches_by(expected)) {
        let at = Path::new("spec.selector");
        errors.invalid(&at, job_spec["selector"].clone(), "`selector` not auto-generated");
    }
}

/// What is wrong with a job's spec, in jobs and in cron jobs; the selector is not looked at.
pub(crate) fn spec(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        errors.nonnegative(&path.child(field), &spec[field]);
    }
    if !spec["maxFailedIndexes"].is_null() && spec["backoffLimitPerIndex"].is_null() {
        errors.required(
            &path.child("backoffLimitPerIndex"),
            "when maxFailedIndexes is specified",
        );
    }
    let mode = spec["completionMode"].as_str().unwrap_or("NonIndexed");
    if !matches!(mode, "NonIndexed" | "Indexed") {
        errors.not_supported(
            &path.child("completionMode"),
            mode.to_owned(),
            &["NonIndexed", "Indexed"],
        );
    }
    if mode == "Indexed" {
        if spec["completions"].is_null() {
            errors.required(&path.child("completions"), "when completion mode is Indexed");
        }
        if let Some(n) = spec["parallelism"].as_i64().filter(|n| *n > 100_000) {
            let detail = "must be less than or equal to 100000 when completion mode is Indexed";
            errors.invalid(&path.child("parallelism"), n, detail);
        }
    } else if mode == "NonIndexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if let Some(n) = spec[field].as_i64() {
                errors.invalid(&path.child(field), n, "requires indexed completion mode");
            }
        }
        if !spec["successPolicy"].is_null() {
            let at = path.child("successPolicy");
            errors.invalid(
                &at,
                spec["successPolicy"].clone(),
                "requires indexed completion mode",
            );
        }
    }
    failure_policy(spec, &path.child("podFailurePolicy"), errors);
    let known: &[&str] = if spec["podFailurePolicy"].is_null() {
        &["Failed", "TerminatingOrFailed"]
    } else {
        &["Failed"]
    };
    if !spec["podReplacementPolicy"].is_null() {
        errors.enumeration(
            &path.child("podReplacementPolicy"),
            &spec["podReplacementPolicy"],
            known,
        );
    }
    pod_template::validate(&spec["template"], &path.child("template"), errors);
    let at = path.child("template.spec.restartPolicy");
    match spec
        .at(&["template", "spec", "restartPolicy"])
        .as_str()
        .unwrap_or_default()
    {
        "Always" | "" => errors.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if !spec["podFailurePolicy"].is_null() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(&at, "OnFailure", detail);
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&at, other.to_owned(), &["OnFailure", "Never"]),
    }
}

fn failure_policy(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let policy = &spec["podFailurePolicy"];
    let rules = policy.list_at(&["rules"]);
    if rules.len() > 20 {
        errors.too_many(&path.child("rules"), rules.len(), 20);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = path.child("rules").index(i);
        match rule["action"].as_str().unwrap_or_default() {
            "" => errors.required(
                &at.child("action"),
                "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            ),
            "FailIndex" => {
                if spec["backoffLimitPerIndex"].is_null() {
                    errors.invalid(
                        &at.child("action"),
                        "FailIndex",
                        "requires the backoffLimitPerIndex to be set",
                    );
                }
            }
            "Count" | "FailJob" | "Ignore" => {}
            other => {
                let known = ["Count", "FailIndex", "FailJob", "Ignore"];
                errors.not_supported(&at.child("action"), other.to_owned(), &known);
            }
        }
        let codes = &rule["onExitCodes"];
        let conditions = rule.list_at(&["onPodConditions"]);
        if !codes.is_null() {
            exit_codes(codes, &at.child("onExitCodes"), errors);
            let pod = spec.at(&["template", "spec"]);
            let known = |name: &str| {
                ["containers", "initContainers"]
                    .iter()
                    .any(|k| pod.list_at(&[k]).iter().any(|c| c["name"].as_str() == Some(name)))
            };
            if let Some(name) = codes["containerName"].as_str().filter(|n| !known(n)) {
                let detail = "must be one of the container or initContainer names in the pod template";
                errors.invalid(&at.child("onExitCodes.containerName"), name.to_owned(), detail);
            }
        }
        for (j, pattern) in conditions.iter().enumerate() {
            let at = at.child("onPodConditions").index(j);
            let kind = pattern["type"].as_str().unwrap_or_default();
            errors.invalid_each(&at.child("type"), kind, name::qualified_name(kind));
            errors.enumeration(
                &at.child("status"),
                &pattern["status"],
                &["False", "True", "Unknown"],
            );
        }
        match (codes.is_null(), conditions.is_empty()) {
            (false, false) => {
                errors.invalid_omitted(
                    &at,
                    "specifying both OnExitCodes and OnPodConditions is not supported",
                );
            }
            (true, true) => {
                errors.invalid_omitted(
                    &at,
                    "specifying one of OnExitCodes and OnPodConditions is required",
                );
            }
            _ => {}
        }
    }
}

fn exit_codes(codes: &Value, path: &Path, errors: &mut FieldErrors) {
    errors.enumeration(&path.child("operator"), &codes["operator"], &["In", "NotIn"]);
    let (values, at) = (codes.list_at(&["values"]), path.child("values"));
    if values.is_empty() {
        errors.invalid(&at, codes["values"].clone(), "at least one value is required");
    } else if values.len() > 255 {
        errors.too_many(&at, values.len(), 255);
    }
    for (i, value) in values.iter().enumerate() {
        if codes["operator"].as_str() == Some("In") && value.as_i64() == Some(0) {
            errors.invalid(&at.index(i), 0, "must not be 0 for the In operator");
        }
        if values[..i].contains(value) {
            errors.duplicate(&at.index(i), value.clone());
        }
    }
    if !values.is_sorted_by_key(|v| v.as_i64()) {
        errors.invalid(&at, codes["values"].clone(), "must be ordered");
    }
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (spec, was, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    if spec["completionMode"].as_str() == Some("Indexed") {
        let changed = !equal(&spec["completions"], &was["completions"]);
        if changed && !spec["completions"].is_null() && spec["completions"] != spec["parallelism"] {
            let detail = "can only be modified in tandem with spec.parallelism";
            errors.invalid(&path.child("completions"), spec["completions"].clone(), detail);
        }
    } else {
        errors.immutable(
            &path.child("completions"),
            &spec["completions"],
            &was["completions"],
        );
    }
    for field in [
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        errors.immutable(&path.child(field), &spec[field], &was[field]);
    }
    // Before its first start, and when suspended again, where a job's pods may run can still be chosen.
    let suspended = was["suspend"].as_bool() == Some(true);
    let conditions = old.list_at(&["status", "conditions"]);
    let at_rest = conditions
        .iter()
        .any(|c| c["type"].as_str() == Some("Suspended") && c["status"].as_str() == Some("True"));
    let idle = old.at(&["status", "active"]).as_i64().unwrap_or(0) == 0;
    let open = suspended && idle && (old.at(&["status", "startTime"]).is_null() || at_rest);
    let mut before = was["template"].clone();
    if open {
        for (parent, field) in [
            (&["metadata"][..], "annotations"),
            (&["metadata"], "labels"),
            (&["spec"], "nodeSelector"),
            (&["spec"], "tolerations"),
            (&["spec"], "schedulingGates"),
        ] {
            let value = spec["template"].at(parent)[field].clone();
            let parent: &'static str = if parent == ["metadata"] {
                "metadata"
            } else {
                "spec"
            };
            crate::strategy::put(before.at_mut(&[parent]), field, value);
        }
        let affinity = spec.at(&["template", "spec", "affinity", "nodeAffinity"]).clone();
        let both = before.at_mut(&["spec", "affinity"]);
        crate::strategy::put(both, "nodeAffinity", affinity);
        if both.is_empty() {
            before.at_mut(&["spec"]).remove("affinity");
        }
        for key in ["containers", "initContainers"] {
            let wished = spec.at(&["template", "spec"]).list_at(&[key]).to_vec();
            crate::edit::each(before.at_mut(&["spec"]), key, |container| {
                if let Some(same) = wished.iter().find(|c| c.get("name") == container.get("name")) {
                    crate::strategy::put(container, "resources", same["resources"].clone());
                }
            });
        }
    }
    errors.immutable(&path.child("template"), &spec["template"], &before);
}
