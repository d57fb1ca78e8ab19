//! ConfigMap.

use machinery::{Map, Value, name};

use crate::table::{AGE, NAME, age, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// The most that all values may weigh together, in bytes: 1 MiB.
pub(crate) const MAX_SIZE: usize = 1024 * 1024;

/// Rules of config maps.
pub(crate) struct ConfigMap;

impl Rules for ConfigMap {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        // Go makes an empty map, which JSON leaves out.
        if object["data"].is_null()
            && let Value::Map(map) = object
        {
            map.remove("data");
        }
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let mut size = 0;
        for (field, other) in [("data", "binaryData"), ("binaryData", "data")] {
            let path = Path::new(field);
            for (key, value) in object[field].as_map().into_iter().flat_map(Map::iter) {
                errors.invalid_each(&path.key(key), key, name::config_map_key(key));
                if field == "data" && object[other].get(key).is_some() {
                    errors.invalid(
                        &path.key(key),
                        key.to_owned(),
                        &format!("duplicate of key present in {other}"),
                    );
                }
                let text = value.as_str().unwrap_or_default();
                size += if field == "data" {
                    text.len()
                } else {
                    decoded_len(text)
                };
            }
        }
        if size > MAX_SIZE {
            errors.too_long(&Path::root(), MAX_SIZE);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        check_immutable(new, old, &["data", "binaryData"], errors);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Data"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let count = |field: &str| object[field].as_map().map_or(0, Map::len) as i64;
        vec![
            name_cell(object),
            (count("data") + count("binaryData")).into(),
            age(object, cx),
        ]
    }
}

/// How many bytes base64 text stands for.
pub(crate) fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

/// `immutable: true` cannot be taken back, and then the data cannot change.
pub(crate) fn check_immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut FieldErrors) {
    if old["immutable"].as_bool() != Some(true) {
        return;
    }
    if new["immutable"].as_bool() != Some(true) {
        errors.forbidden(
            &Path::new("immutable"),
            "field is immutable when `immutable` is set",
        );
    }
    for field in fields {
        if !crate::equal(&new[*field], &old[*field]) {
            errors.forbidden(&Path::new(field), "field is immutable when `immutable` is set");
        }
    }
}
