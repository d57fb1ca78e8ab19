//! Rules of `metadata` that the server itself applies, the same for all kinds.
//!
//! Source: `k8s.io/apiserver/pkg/registry/rest` (`FillObjectMetaSystemFields`, `BeforeUpdate`).

use super::Op;
use crate::status::{ApiError, Result};
use machinery::{Map, Value};
use rand::Rng;

/// What a generated name ends with: letters and digits that cannot form words or be mistaken.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// A name that was generated has at most 63 characters, of which 5 are random.
const MAX_PREFIX: usize = 58;

/// A name from a `generateName`.
pub fn generate_name(prefix: &str) -> String {
    let cut = (0..=prefix.len().min(MAX_PREFIX))
        .rev()
        .find(|i| prefix.is_char_boundary(*i))
        .unwrap_or(0);
    let mut name = prefix[..cut].to_owned();
    let mut rng = rand::rng();
    name.extend((0..5).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])));
    name
}

/// `metadata` of an object, made if it is missing.
pub fn meta_mut(object: &mut Value) -> &mut Map {
    object.at_mut(&["metadata"])
}

/// A new uid.
pub fn new_uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Sets what the server alone decides of a new object.
pub fn fill_system_fields(object: &mut Value, timestamp: &str) {
    let meta = meta_mut(object);
    for gone in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "managedFields",
        "resourceVersion",
    ] {
        meta.remove(gone);
    }
    meta.insert("uid", new_uid());
    meta.insert("creationTimestamp", timestamp.to_owned());
    if meta.get("generation").is_some_and(Value::is_zero) {
        meta.remove("generation");
    }
}

/// Namespace of the object against that of the request.
pub fn ensure_namespace(object: &mut Value, op: &Op<'_>) -> Result<()> {
    let wanted = op.namespace().to_owned();
    let given = object.str_at(&["metadata", "namespace"]).unwrap_or_default();
    if given == wanted {
        return Ok(());
    }
    if !given.is_empty() {
        if !op.kind.resource.namespaced {
            // Upstream drops nothing here: validation says that the field is not allowed.
            return Ok(());
        }
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta_mut(object).insert("namespace", wanted);
    Ok(())
}

/// Name of the object against that of the request, for updates.
pub fn ensure_name(object: &mut Value, name: &str) -> Result<()> {
    let given = object.str_at(&["metadata", "name"]).unwrap_or_default();
    if given == name {
        return Ok(());
    }
    if !given.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    meta_mut(object).insert("name", name.to_owned());
    Ok(())
}

/// Takes over from the old object what an update may not change or may leave out.
pub fn carry_over(new: &mut Value, old: &Value) {
    let old_meta = &old["metadata"];
    let meta = meta_mut(new);
    meta.remove("selfLink");
    meta.remove("managedFields");
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let missing = meta
            .get(field)
            .is_none_or(|v| v.is_null() || v.as_str() == Some(""));
        if missing {
            match old_meta.get(field) {
                Some(value) => {
                    meta.insert(field, value.clone());
                }
                None => {
                    meta.remove(field);
                }
            }
        }
    }
    // Only the rules of the kind count generations.
    match old_meta.get("generation") {
        Some(value) => {
            meta.insert("generation", value.clone());
        }
        None => {
            meta.remove("generation");
        }
    }
}

/// Whether the last finalizer of a dying object has gone, so that this update is its deletion.
pub fn is_finished(object: &Value, op: &Op<'_>) -> bool {
    let meta = &object["metadata"];
    let dying = !meta["deletionTimestamp"].is_null();
    let waits = meta.int_at(&["deletionGracePeriodSeconds"]).unwrap_or(0) > 0;
    let held = !meta.list_at(&["finalizers"]).is_empty()
        || (op.kind.is("", "namespaces") && !object.list_at(&["spec", "finalizers"]).is_empty());
    dying && !waits && !held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_name_fits_a_label() {
        let name = generate_name(&"a".repeat(80));
        assert_eq!(name.len(), 63);
        assert!(generate_name("x-").starts_with("x-") && generate_name("x-").len() == 7);
    }
}
