//! Environment variables of containers.

use machinery::{Value, name};

use crate::{FieldErrors, Path};

/// Fields of a pod that a variable may show.
const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Amounts of a container that a variable may show.
pub(crate) const AMOUNTS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What is wrong with a container's `env` and `envFrom`.
pub(crate) fn validate(container: &Value, path: &Path, errors: &mut FieldErrors) {
    for (i, variable) in container.list_at(&["env"]).iter().enumerate() {
        let at = path.child("env").index(i);
        match variable["name"].as_str().unwrap_or_default() {
            "" => errors.required(&at.child("name"), ""),
            text => errors.invalid_each(&at.child("name"), text, name::env_var_name(text)),
        }
        value_from(variable, &at.child("valueFrom"), errors);
    }
    for (i, source) in container.list_at(&["envFrom"]).iter().enumerate() {
        let list = path.child("envFrom");
        let at = list.index(i);
        if let Some(prefix) = source["prefix"].as_str().filter(|p| !p.is_empty()) {
            errors.invalid_each(&at.child("prefix"), prefix, name::env_var_name(prefix));
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            if !source[field].is_null() {
                count += 1;
                let name = source[field]["name"].as_str().unwrap_or_default();
                let at = at.child(field).child("name");
                match name {
                    "" => errors.required(&at, ""),
                    _ => errors.invalid_each(&at, name, name::dns1123_subdomain(name)),
                }
            }
        }
        if count == 0 {
            errors.invalid(&list, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if count > 1 {
            errors.invalid(&list, "", "may not have more than one field specified at a time");
        }
    }
}

fn value_from(variable: &Value, path: &Path, errors: &mut FieldErrors) {
    let from = &variable["valueFrom"];
    if from.is_null() {
        return;
    }
    let sources = [
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ];
    let given: Vec<&str> = sources.into_iter().filter(|f| !from[*f].is_null()).collect();
    for field in &given {
        let (source, at) = (&from[*field], path.child(field));
        let need = |member: &str| {
            if source[member].is_zero() {
                errors.required(&at.child(member), "");
            }
        };
        match *field {
            "fieldRef" => field_ref(source, &FIELDS, &at, errors),
            "resourceFieldRef" => resource_ref(source, &at, errors),
            "fileKeyRef" => ["key", "path", "volumeName"].into_iter().for_each(need),
            _ => {
                let name = source["name"].as_str().unwrap_or_default();
                errors.invalid_each(&at.child("name"), name, name::dns1123_subdomain(name));
                match source["key"].as_str().unwrap_or_default() {
                    "" => errors.required(&at.child("key"), ""),
                    key => errors.invalid_each(&at.child("key"), key, name::config_map_key(key)),
                }
            }
        }
    }
    if given.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(path, "", detail);
    } else if !variable["value"].is_zero() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if given.len() > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
}

/// A field of the pod, or one of its labels or annotations by `metadata.labels['key']`.
pub(crate) fn field_ref(source: &Value, known: &[&str], path: &Path, errors: &mut FieldErrors) {
    let text = source["fieldPath"].as_str().unwrap_or_default();
    if text.is_empty() {
        errors.required(&path.child("fieldPath"), "");
        return;
    }
    if let Some((field, key)) = text.strip_suffix("']").and_then(|t| t.split_once("['")) {
        match field {
            "metadata.annotations" => {
                errors.invalid_each(path, key, name::qualified_name(&key.to_lowercase()))
            }
            "metadata.labels" => errors.invalid_each(path, key, name::qualified_name(key)),
            _ => errors.invalid(path, field.to_owned(), "does not support subscript"),
        }
        return;
    }
    let in_volumes = ["metadata.labels", "metadata.annotations"];
    if known.contains(&text) {
        return;
    }
    if FIELDS.contains(&text) || in_volumes.contains(&text) {
        let mut sorted = known.to_vec();
        sorted.sort_unstable();
        errors.not_supported(&path.child("fieldPath"), text.to_owned(), &sorted);
    } else {
        let detail = format!("error converting fieldPath: field label not supported: {text}");
        errors.invalid(&path.child("fieldPath"), text.to_owned(), &detail);
    }
}

fn resource_ref(source: &Value, path: &Path, errors: &mut FieldErrors) {
    let text = source["resource"].as_str().unwrap_or_default();
    if text.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !AMOUNTS.contains(&text) && !text.contains(".hugepages-") {
        errors.not_supported(&path.child("resource"), text.to_owned(), &AMOUNTS);
    }
}
