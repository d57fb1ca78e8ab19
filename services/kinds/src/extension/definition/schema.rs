//! Whether a schema is structural: each field has a type, and nothing that pruning could not follow.
//!
//! Only the part that keeps unknown fields from being lost unseen is judged here; expressions (CEL) are compiled elsewhere.

use machinery::{Map, Value};

use crate::{FieldErrors, Path};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Whether a member is `true`.
fn on(schema: &Value, field: &str) -> bool {
    schema[field].as_bool() == Some(true)
}

/// What is wrong with a version's schema.
pub(super) fn validate_root(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    match schema["type"].as_str().unwrap_or_default() {
        "" => errors.required(&path.child("type"), "must not be empty at the root"),
        "object" => {}
        other => errors.invalid(
            &path.child("type"),
            other.to_owned(),
            "must be object at the root",
        ),
    }
    validate(schema, path, errors);
}

/// Depth is bounded, since decoding refuses deep trees.
fn validate(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(kind) = schema["type"]
        .as_str()
        .filter(|t| !t.is_empty() && !TYPES.contains(t))
    {
        errors.not_supported(&path.child("type"), kind.to_owned(), &TYPES);
    }
    let properties = schema["properties"].as_map().into_iter().flat_map(Map::iter);
    for (name, inner) in properties {
        let at = path.child("properties").key(name);
        need_type(
            inner,
            "must not be empty for specified object fields",
            &at,
            errors,
        );
        validate(inner, &at, errors);
    }
    let items = &schema["items"];
    if schema["type"].as_str() == Some("array") && items.is_null() {
        errors.required(&path.child("items"), "must be specified");
    }
    if !items.is_null() {
        let at = path.child("items");
        need_type(items, "must not be empty for specified array items", &at, errors);
        validate(items, &at, errors);
    }
    let extra = &schema["additionalProperties"];
    if let Value::Map(_) = extra {
        let at = path.child("additionalProperties");
        need_type(
            extra,
            "must not be empty for specified object fields",
            &at,
            errors,
        );
        validate(extra, &at, errors);
    }
    if !schema["properties"].is_zero() && !extra.is_null() {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(&path.child("additionalProperties"), detail);
    }
    if on(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), detail);
    }
    list_type(schema, path, errors);
}

fn need_type(schema: &Value, detail: &str, path: &Path, errors: &mut FieldErrors) {
    let free = on(schema, "x-kubernetes-int-or-string") || on(schema, "x-kubernetes-preserve-unknown-fields");
    if schema["type"].is_zero() && !free {
        errors.required(&path.child("type"), detail);
    }
}

/// Lists that are maps name their keys.
fn list_type(schema: &Value, path: &Path, errors: &mut FieldErrors) {
    let kind = &schema["x-kubernetes-list-type"];
    let keys = schema.list_at(&["x-kubernetes-list-map-keys"]);
    if !kind.is_null() {
        if schema["type"].as_str() != Some("array") {
            let shown = schema["type"].as_str().unwrap_or_default().to_owned();
            let detail = "must be array if x-kubernetes-list-type is specified";
            errors.invalid(&path.child("type"), shown, detail);
        }
        errors.enumeration(
            &path.child("x-kubernetes-list-type"),
            kind,
            &["atomic", "map", "set"],
        );
    }
    let at = path.child("x-kubernetes-list-map-keys");
    if kind.as_str() == Some("map") {
        if keys.is_empty() {
            errors.required(&at, "must not be empty if x-kubernetes-list-type is map");
        }
        for (i, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            if schema.at(&["items", "properties"]).get(key).is_none() {
                let detail = "entries must all be names of item properties";
                errors.invalid(&at.index(i), key.to_owned(), detail);
            }
        }
    } else if !keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        let shown = kind.as_str().unwrap_or_default().to_owned();
        errors.invalid(&path.child("x-kubernetes-list-type"), shown, detail);
    }
}
