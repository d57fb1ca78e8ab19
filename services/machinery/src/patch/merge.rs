//! JSON merge patch (RFC 7386).

use crate::Value;

/// Merges `patch` into `target`: null deletes, objects merge, everything else replaces.
pub fn apply(target: &mut Value, patch: Value) {
    let Value::Map(patch) = patch else {
        *target = patch;
        return;
    };
    if !matches!(target, Value::Map(_)) {
        *target = Value::map();
    }
    let Value::Map(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else if let Some(slot) = map.get_mut(&key) {
            apply(slot, value);
        } else {
            let mut slot = Value::Null;
            apply(&mut slot, value);
            map.push_new(key, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (target, patch, expect) in [
            (value!({"a": "b"}), value!({"a": "c"}), value!({"a": "c"})),
            (
                value!({"a": "b"}),
                value!({"b": "c"}),
                value!({"a": "b", "b": "c"}),
            ),
            (value!({"a": "b"}), value!({"a": null}), value!({})),
            (value!({"a": ["b"]}), value!({"a": "c"}), value!({"a": "c"})),
            (
                value!({"a": {"b": "c"}}),
                value!({"a": {"b": "d", "c": null}}),
                value!({"a": {"b": "d"}}),
            ),
            (
                value!({"a": [{"b": "c"}]}),
                value!({"a": [1]}),
                value!({"a": [1]}),
            ),
            (value!({"e": null}), value!({"a": 1}), value!({"e": null, "a": 1})),
            (value!([1, 2]), value!({"a": "b", "c": null}), value!({"a": "b"})),
            (
                value!({}),
                value!({"a": {"bb": {"ccc": null}}}),
                value!({"a": {"bb": {}}}),
            ),
        ] {
            let mut got = target.clone();
            apply(&mut got, patch.clone());
            assert_eq!(got, expect, "{target:?} + {patch:?}");
        }
    }
}
