//! `PersistentVolumeClaimSpec`: of claims, of StatefulSets' templates and of ephemeral volumes.

use machinery::{Map, Value, name};

use super::{label_selector, resources};
use crate::core::persistent_volume::{access_modes, volume_mode};
use crate::edit::fill;
use crate::{FieldErrors, Path};

/// Defaults of a claim's spec.
pub(crate) fn default(spec: &mut Map) {
    fill(spec, "volumeMode", "Filesystem");
    resources::default_requirements(spec, "resources");
    // No pointer in Go, so it is always there.
    fill(spec, "resources", Map::new());
}

/// What is wrong with a claim's spec.
pub(crate) fn validate(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    label_selector::validate(&spec["selector"], &path.child("selector"), errors);
    access_modes(spec, path, errors);
    let requests = path.child("resources");
    match spec.at(&["resources", "requests"])["storage"].as_str() {
        None => errors.required(&requests.key("storage"), ""),
        Some(text) => {
            if resources::amount(spec.at(&["resources", "requests"]), "storage").is_none_or(|q| q.sign() <= 0)
            {
                errors.invalid(
                    &requests.key("storage"),
                    text.to_owned(),
                    "must be greater than zero",
                );
            }
        }
    }
    if let Some(class) = spec["storageClassName"].as_str().filter(|c| !c.is_empty()) {
        errors.invalid_each(
            &path.child("storageClassName"),
            class,
            name::dns1123_subdomain(class),
        );
    }
    if let Some(class) = spec["volumeAttributesClassName"]
        .as_str()
        .filter(|c| !c.is_empty())
    {
        let at = path.child("volumeAttributesClassName");
        errors.invalid_each(&at, class, name::dns1123_subdomain(class));
    }
    volume_mode(&spec["volumeMode"], &path.child("volumeMode"), errors);
    for field in ["dataSource", "dataSourceRef"] {
        let source = &spec[field];
        if source.is_null() {
            continue;
        }
        let path = path.child(field);
        for member in ["name", "kind"] {
            if source[member].is_zero() {
                errors.required(&path.child(member), "");
            }
        }
        if source["apiGroup"].is_zero()
            && source["kind"]
                .as_str()
                .is_some_and(|k| k != "PersistentVolumeClaim")
        {
            let kind = source["kind"].as_str().unwrap_or_default().to_owned();
            errors.invalid(
                &path,
                kind,
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            );
        }
    }
    let (old, new) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if !old.is_null() && !new.is_null() {
        if !new["namespace"].is_zero() {
            let detail = "may not be specified when dataSourceRef.namespace is specified";
            errors.invalid(path, "dataSource", detail);
        } else if !crate::equal(old, new) {
            errors.invalid(path, Value::map(), "must match dataSourceRef");
        }
    }
}
