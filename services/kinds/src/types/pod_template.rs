//! `PodTemplateSpec`.

use machinery::{Map, Value};

use super::pod_spec;
use crate::{FieldErrors, Path, metadata};

/// Defaults of a template under `key`, which is always there in Go unless it is a pointer.
pub(crate) fn default(map: &mut Map, key: &'static str) {
    let template = map.map_entry(key);
    template.map_entry("metadata");
    pod_spec::default(template.map_entry("spec"));
}

/// What is wrong with a template of pods that are restarted forever: Deployments and their kin.
pub(crate) fn validate_always(template: &Value, kind: &str, path: &Path, errors: &mut FieldErrors) {
    validate(template, path, errors);
    let spec = path.child("spec");
    match template.str_at(&["spec", "restartPolicy"]) {
        Some("Always") | None => {}
        Some(other) => errors.not_supported(&spec.child("restartPolicy"), other.to_owned(), &["Always"]),
    }
    if !template.at(&["spec", "activeDeadlineSeconds"]).is_null() {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&spec.child("activeDeadlineSeconds"), &detail);
    }
}

/// What is wrong with a template.
pub(crate) fn validate(template: &Value, path: &Path, errors: &mut FieldErrors) {
    metadata::validate_labels(
        template.at(&["metadata", "labels"]),
        &path.child("labels"),
        errors,
    );
    metadata::validate_annotations(
        template.at(&["metadata", "annotations"]),
        &path.child("annotations"),
        errors,
    );
    pod_spec::validate(&template["spec"], &path.child("spec"), errors);
    if !template.list_at(&["spec", "ephemeralContainers"]).is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.forbidden(&path.child("spec.ephemeralContainers"), detail);
    }
}
