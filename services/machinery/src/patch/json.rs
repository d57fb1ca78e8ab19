//! JSON patch (RFC 6902) with JSON pointers (RFC 6901).
//!
//! Texts of errors are those of the library that upstream uses (evanphx/json-patch 4), which clients see as they are.

use super::PatchError;
use crate::Value;

/// The most operations that one patch may hold.
pub const MAX_OPERATIONS: usize = 10_000;

/// One step on the way to a value: `~0` and `~1` are already resolved.
type Pointer = Vec<String>;

fn pointer(text: &str) -> Option<Pointer> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let rest = text.strip_prefix('/')?;
    Some(
        rest.split('/')
            .map(|s| s.replace("~1", "/").replace("~0", "~"))
            .collect(),
    )
}

fn unprocessable<T>(text: String) -> Result<T, PatchError> {
    Err(PatchError::Unprocessable(text))
}

/// What a step names in a list: an existing place.
fn place(step: &str, len: usize) -> Result<usize, String> {
    let n: i64 = step
        .parse()
        .map_err(|_| format!("strconv.Atoi: parsing \"{step}\": invalid syntax"))?;
    let at = if n < 0 { n + len as i64 } else { n };
    usize::try_from(at)
        .ok()
        .filter(|at| *at < len)
        .ok_or_else(|| format!("Unable to access invalid index: {step}: invalid index referenced"))
}

fn find<'a>(root: &'a mut Value, steps: &[String]) -> Option<&'a mut Value> {
    let mut here = root;
    for step in steps {
        here = match here {
            Value::Map(map) => map.get_mut(step)?,
            Value::List(list) => {
                let at = place(step, list.len()).ok()?;
                &mut list[at]
            }
            _ => return None,
        };
    }
    Some(here)
}

/// The container that holds the last step, and that step.
fn parent<'a, 'p>(root: &'a mut Value, steps: &'p [String]) -> Option<(&'a mut Value, &'p str)> {
    let (last, way) = steps.split_last()?;
    let container = find(root, way)?;
    matches!(container, Value::Map(_) | Value::List(_)).then_some((container, &**last))
}

fn add(root: &mut Value, path: &str, steps: &[String], value: Value) -> Result<(), PatchError> {
    if steps.is_empty() {
        *root = value;
        return Ok(());
    }
    let Some((container, last)) = parent(root, steps) else {
        return unprocessable(format!(
            "add operation does not apply: doc is missing path: \"{path}\": missing value"
        ));
    };
    match container {
        Value::List(list) if last == "-" => list.push(value),
        Value::List(list) => {
            // One place more than there are items: the end.
            let at = place(last, list.len() + 1)
                .map_err(|e| PatchError::Unprocessable(format!("error in add for path: '{path}': {e}")))?;
            list.insert(at, value);
        }
        Value::Map(map) => {
            map.insert(last.to_owned(), value);
        }
        _ => {}
    }
    Ok(())
}

fn remove(root: &mut Value, path: &str, steps: &[String]) -> Result<Value, PatchError> {
    let Some((container, last)) = parent(root, steps) else {
        return unprocessable(format!(
            "remove operation does not apply: doc is missing path: \"{path}\": missing value"
        ));
    };
    let wrong = |e: String| PatchError::Unprocessable(format!("error in remove for path: '{path}': {e}"));
    match container {
        Value::List(list) => {
            let at = place(last, list.len()).map_err(wrong)?;
            Ok(list.remove(at))
        }
        Value::Map(map) => map
            .remove(last)
            .ok_or_else(|| wrong(format!("Unable to remove nonexistent key: {last}: missing value"))),
        _ => Ok(Value::Null),
    }
}

/// Applies a patch, a list of operations.
///
/// # Errors
/// [`PatchError::Malformed`] if it is no patch, [`PatchError::TooLarge`] beyond [`MAX_OPERATIONS`],
/// [`PatchError::Unprocessable`] if an operation does not apply. The document may then be half changed.
pub fn apply(document: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let Some(operations) = patch.as_list() else {
        return Err(PatchError::Malformed(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
            patch.type_name()
        )));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge {
            max: MAX_OPERATIONS,
            got: operations.len(),
        });
    }
    operations.iter().try_for_each(|o| operate(document, o))
}

fn operate(document: &mut Value, operation: &Value) -> Result<(), PatchError> {
    let kind = operation["op"].as_str().unwrap_or("unknown");
    let text = |member: &str| operation[member].as_str();
    let missing = |what: &str| format!("{kind} operation failed to decode {what}: missing value");
    if !matches!(kind, "add" | "remove" | "replace" | "move" | "test" | "copy") {
        return unprocessable(format!("Unexpected kind: {kind}"));
    }
    let Some(path) = text("path") else {
        return unprocessable(missing("path"));
    };
    let bad = |path: &str| {
        PatchError::Unprocessable(format!(
            "{kind} operation does not apply: doc is missing path: {path}: missing value"
        ))
    };
    let steps = pointer(path).ok_or_else(|| bad(path))?;
    let value = || operation.get("value").cloned().unwrap_or_default();
    match kind {
        "add" => add(document, path, &steps, value()),
        "remove" => remove(document, path, &steps).map(drop),
        "replace" => {
            let Some(slot) = find(document, &steps) else {
                let what = if parent(document, &steps).is_some() {
                    "key"
                } else {
                    "path"
                };
                return unprocessable(format!(
                    "replace operation does not apply: doc is missing {what}: {path}: missing value"
                ));
            };
            *slot = value();
            Ok(())
        }
        "test" => {
            let have = find(document, &steps).map(|v| &*v).unwrap_or(&Value::Null);
            if *have == value() {
                Ok(())
            } else {
                unprocessable(format!("testing value {path} failed: test failed"))
            }
        }
        _ => {
            let Some(from) = text("from") else {
                return unprocessable(missing("from"));
            };
            let source = pointer(from).ok_or_else(|| bad(from))?;
            let gone = || {
                PatchError::Unprocessable(format!(
                    "{kind} operation does not apply: doc is missing from path: {from}: missing value"
                ))
            };
            if kind == "move" {
                // RFC 6902: a value cannot be moved into itself.
                if steps.len() > source.len() && steps.starts_with(&source) {
                    return Err(gone());
                }
                find(document, &source).ok_or_else(gone)?;
                let value = remove(document, from, &source)?;
                add(document, path, &steps, value)
            } else {
                let value = find(document, &source).ok_or_else(gone)?.clone();
                add(document, path, &steps, value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn operations_do_what_the_rfc_says() {
        for (patch, expect) in [
            (
                value!([{"op": "add", "path": "/b", "value": 2}]),
                value!({"a": {"x": [1, 2]}, "b": 2}),
            ),
            (
                value!([{"op": "add", "path": "/a/x/1", "value": 9}]),
                value!({"a": {"x": [1, 9, 2]}}),
            ),
            (
                value!([{"op": "add", "path": "/a/x/-", "value": 9}]),
                value!({"a": {"x": [1, 2, 9]}}),
            ),
            (
                value!([{"op": "remove", "path": "/a/x/0"}]),
                value!({"a": {"x": [2]}}),
            ),
            (
                value!([{"op": "replace", "path": "/a/x", "value": "y"}]),
                value!({"a": {"x": "y"}}),
            ),
            (
                value!([{"op": "move", "from": "/a/x", "path": "/c~1d"}]),
                value!({"a": {}, "c/d": [1, 2]}),
            ),
            (
                value!([{"op": "copy", "from": "/a/x/0", "path": "/q"}]),
                value!({"a": {"x": [1, 2]}, "q": 1}),
            ),
            (
                value!([{"op": "test", "path": "/a/x/1", "value": 2}]),
                value!({"a": {"x": [1, 2]}}),
            ),
            (
                value!([{"op": "replace", "path": "", "value": {"n": 1}}]),
                value!({"n": 1}),
            ),
        ] {
            let mut got = value!({"a": {"x": [1, 2]}});
            apply(&mut got, &patch).unwrap();
            assert_eq!(got, expect, "{patch:?}");
        }
    }

    #[test]
    fn what_does_not_apply_is_said_in_upstreams_words() {
        for (patch, expect) in [
            (
                value!([{"op": "remove", "path": "/no"}]),
                "error in remove for path: '/no': Unable to remove nonexistent key: no: missing value",
            ),
            (
                value!([{"op": "test", "path": "/a", "value": 1}]),
                "testing value /a failed: test failed",
            ),
            (
                value!([{"op": "replace", "path": "/no", "value": 1}]),
                "replace operation does not apply: doc is missing key: /no: missing value",
            ),
            (
                value!([{"op": "add", "path": "/no/no", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/no/no\": missing value",
            ),
            (value!([{"op": "spin", "path": "/a"}]), "Unexpected kind: spin"),
            (
                value!([{"op": "add", "path": "/a/x/7", "value": 1}]),
                "error in add for path: '/a/x/7': Unable to access invalid index: 7: invalid index referenced",
            ),
        ] {
            let mut document = value!({"a": {"x": [1, 2]}});
            assert_eq!(
                apply(&mut document, &patch),
                Err(PatchError::Unprocessable(expect.into()))
            );
        }
    }

    #[test]
    fn a_patch_has_a_limit() {
        let patch = Value::List(vec![
            value!({"op": "add", "path": "/a", "value": 1});
            MAX_OPERATIONS + 1
        ]);
        assert!(matches!(
            apply(&mut Value::map(), &patch),
            Err(PatchError::TooLarge { .. })
        ));
    }
}
