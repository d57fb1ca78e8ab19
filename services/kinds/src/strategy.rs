//! What the server does to any object before it is created or updated.
//!
//! Source: upstream's `strategy.go` files, which do the same for nearly every kind: the main resource cannot set the
//! status, the status cannot set the spec, and `generation` counts changes of what the user wants.

use machinery::{Map, Value};

use crate::Cx;

/// Whether the kind has a `status` sub-resource.
pub(crate) fn has_status(cx: &Cx<'_>) -> bool {
    cx.resource.subresources.iter().any(|s| s.name == "status")
}

/// Empties `status` if it is a sub-resource and sets the first generation.
pub(crate) fn prepare_create(object: &mut Value, counts_generations: bool, cx: &Cx<'_>) {
    if has_status(cx)
        && let Value::Map(map) = object
    {
        map.insert("status", Map::new());
    }
    if counts_generations {
        object.at_mut(&["metadata"]).insert("generation", 1);
    }
}

/// See [`crate::Rules::prepare_update`].
pub(crate) fn prepare_update(new: &mut Value, old: &Value, counts_generations: bool, cx: &Cx<'_>) {
    match cx.subresource {
        "" => {
            if has_status(cx) {
                keep(new, old, "status");
            }
        }
        _ => keep_all_but(new, old, &["metadata", "status"]),
    }
    if counts_generations && cx.subresource.is_empty() {
        count_generation(new, old);
    } else {
        put(
            new.at_mut(&["metadata"]),
            "generation",
            old.at(&["metadata", "generation"]).clone(),
        );
    }
}

/// Sets `metadata.generation` to one more than before if the wishes differ, else to what it was.
pub(crate) fn count_generation(new: &mut Value, old: &Value) {
    let before = old.int_at(&["metadata", "generation"]).unwrap_or(0);
    let changed = wishes_differ(new, old);
    put(
        new.at_mut(&["metadata"]),
        "generation",
        Value::Int(before + i64::from(changed)),
    );
}

/// Sets a member, or removes it if the value is null.
pub(crate) fn put(map: &mut Map, key: &'static str, value: Value) {
    if value.is_null() {
        map.remove(key);
    } else {
        map.insert(key, value);
    }
}

/// Puts the old value of a member (or its absence) into the new object.
pub(crate) fn keep(new: &mut Value, old: &Value, member: &'static str) {
    if let Value::Map(map) = new {
        match old.get(member) {
            Some(value) => {
                map.insert(member, value.clone());
            }
            None => {
                map.remove(member);
            }
        }
    }
}

/// Keeps the old metadata but for managed fields and the resource version: upstream's `ResetObjectMetaForStatus`.
pub(crate) fn keep_metadata(new: &mut Value, old: &Value) {
    let mut metadata = old["metadata"].clone();
    for field in ["managedFields", "resourceVersion"] {
        put(metadata.at_mut(&[]), field, new.at(&["metadata", field]).clone());
    }
    new.at_mut(&[]).insert("metadata", metadata);
}

/// Puts all members of the old object into the new one, except `own`, which stay the new one's.
pub(crate) fn keep_all_but(new: &mut Value, old: &Value, own: &[&str]) {
    let (Value::Map(map), Some(old)) = (new, old.as_map()) else {
        return;
    };
    map.retain(|k, _| own.contains(&k) || old.contains_key(k));
    for (key, value) in old.iter() {
        if own.contains(&key) {
            continue;
        }
        match map.get_mut(key) {
            Some(slot) => *slot = value.clone(),
            None => map.push_new(key.to_owned(), value.clone()),
        }
    }
}

/// Whether anything besides `apiVersion`, `kind`, `metadata` and `status` differs.
pub(crate) fn wishes_differ(new: &Value, old: &Value) -> bool {
    let none = Map::new();
    let (new, old) = (new.as_map().unwrap_or(&none), old.as_map().unwrap_or(&none));
    let skip = |k: &str| matches!(k, "apiVersion" | "kind" | "metadata" | "status");
    let side = |a: &Map, b: &Map| {
        a.iter()
            .any(|(k, v)| !skip(k) && !crate::equal(v, b.get(k).unwrap_or(&Value::Null)))
    };
    side(new, old) || side(old, new)
}

/// The present moment as `metav1.Time` is written.
pub(crate) fn now(cx: &Cx<'_>) -> Value {
    cx.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

/// Whether two values mean the same: null, absent and empty are equal, as upstream's semantic `DeepEqual` has it.
/// Quantities are compared as text, since they are canonical.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Map(x), Value::Map(y)) => {
            x.iter().all(|(k, v)| equal(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || empty(v))
        }
        (Value::List(x), Value::List(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| equal(v, w)),
        (Value::Null, other) | (other, Value::Null) => empty(other),
        _ => a == b,
    }
}

/// Null, or a list or object without members. Zero and "" are values: a pointer to zero differs from none.
fn empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::List(l) => l.is_empty(),
        Value::Map(m) => m.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    #[test]
    fn equality_ignores_what_is_empty() {
        assert!(equal(&value!({"a": {}, "b": 1}), &value!({"b": 1})));
        assert!(equal(&Value::Null, &value!([])));
        assert!(!equal(&value!({"a": 0}), &value!({})));
        assert!(!equal(&value!({"a": [1]}), &value!({"a": [2]})));
    }

    #[test]
    fn a_write_of_status_keeps_everything_else() {
        let old = value!({"kind": "X", "metadata": {"name": "x"}, "spec": {"n": 1}, "data": {"k": "v"}});
        let mut new = value!({"kind": "X", "metadata": {"name": "x", "annotations": {"a": "b"}}, "spec": {"n": 2}, "status": {"s": 1}, "extra": 1});
        keep_all_but(&mut new, &old, &["metadata", "status"]);
        let expect = value!({"kind": "X", "metadata": {"name": "x", "annotations": {"a": "b"}}, "spec": {"n": 1}, "status": {"s": 1}, "data": {"k": "v"}});
        assert_eq!(new, expect);
    }
}
