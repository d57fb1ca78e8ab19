//! Secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::{Map, Value, name, quote::go_json};

use super::config_map::{MAX_SIZE, check_immutable, decoded_len};
use crate::edit::fill_zero;
use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal};

/// Rules of secrets.
pub(crate) struct Secret;

impl Rules for Secret {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        merge_string_data(object);
        fill_zero(object.at_mut(&[]), "type", "Opaque");
    }

    fn prepare_create(&self, object: &mut Value, _cx: &Cx<'_>) {
        merge_string_data(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        merge_string_data(new);
        fill_zero(new.at_mut(&[]), "type", old["type"].clone());
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let data = Path::new("data");
        let mut size = 0;
        for (key, value) in object["data"].as_map().into_iter().flat_map(Map::iter) {
            errors.invalid_each(&data.key(key), key, name::config_map_key(key));
            size += decoded_len(value.as_str().unwrap_or_default());
        }
        if size > MAX_SIZE {
            errors.too_long(&data, MAX_SIZE);
        }
        let has = |key: &str| object["data"].get(key).is_some();
        let need = |key: &str, errors: &mut FieldErrors| {
            if !has(key) {
                errors.required(&data.key(key), "");
            }
        };
        match object["type"].as_str().unwrap_or_default() {
            "kubernetes.io/service-account-token" => {
                let key = "kubernetes.io/service-account.name";
                if object.at(&["metadata", "annotations"])[key].is_zero() {
                    errors.required(&Path::new("metadata.annotations").key(key), "");
                }
            }
            "kubernetes.io/dockercfg" => docker_config(object, ".dockercfg", errors),
            "kubernetes.io/dockerconfigjson" => docker_config(object, ".dockerconfigjson", errors),
            "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
                errors.required(&data.key("username"), "");
                errors.required(&data.key("password"), "");
            }
            "kubernetes.io/ssh-auth" if object["data"]["ssh-privatekey"].is_zero() => {
                errors.required(&data.key("ssh-privatekey"), "");
            }
            "kubernetes.io/tls" => {
                need("tls.crt", errors);
                need("tls.key", errors);
            }
            _ => {}
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        if !equal(&new["type"], &old["type"]) {
            errors.invalid(&Path::new("type"), new["type"].clone(), "field is immutable");
        }
        check_immutable(new, old, &["data"], errors);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Type"), text("Data"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let count = object["data"].as_map().map_or(0, Map::len) as i64;
        vec![
            name_cell(object),
            cell(&object["type"]),
            count.into(),
            age(object, cx),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![("type", object["type"].as_str().unwrap_or_default().to_owned())]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["type"]
    }
}

/// `stringData` is write-only: its texts become `data`.
fn merge_string_data(object: &mut Value) {
    let Value::Map(map) = object else { return };
    let Some(Value::Map(texts)) = map.remove("stringData") else {
        return;
    };
    if texts.is_empty() {
        return;
    }
    let data = map.map_entry("data");
    for (key, text) in texts {
        data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()));
    }
}

/// A key that must hold JSON.
fn docker_config(object: &Value, key: &'static str, errors: &mut FieldErrors) {
    let path = Path::new("data").key(key);
    let Some(text) = object["data"][key].as_str() else {
        errors.required(&path, "");
        return;
    };
    let json = STANDARD
        .decode(text)
        .ok()
        .map(|b| serde_json::from_slice::<serde::de::IgnoredAny>(&b));
    if let Some(Err(e)) = json {
        // Secrets are never shown in messages.
        errors.invalid(&path, "<secret contents redacted>", &json_error(&e));
    }
}

/// Go says it in its own words; the commonest are said alike.
fn json_error(e: &serde_json::Error) -> String {
    if e.is_eof() {
        "unexpected end of JSON input".into()
    } else {
        go_json(&Value::from(e.to_string()))
    }
}
