//! The order of merged lists: what the patch says first, then the order of the live list.

use super::{BAD_ORDER, PATCH, malformed, no_merge_key, unfit};
use crate::Value;
use crate::patch::PatchError;
use crate::quote::go_json;

/// What identifies an item: itself for a scalar, its merge key for an object.
fn id<'v>(item: &'v Value, key: Option<&str>) -> Result<&'v Value, PatchError> {
    match key {
        None => Ok(item),
        Some(key) => match item {
            Value::Map(map) => map.get(key).map_or_else(|| no_merge_key(map, key), Ok),
            _ => malformed(BAD_ORDER),
        },
    }
}

/// Checks that the items of a patch stand in the order that `$setElementOrder` names.
pub(super) fn check(patch: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut at = 0;
    for item in patch.iter().filter(|v| v.get(PATCH).is_none()) {
        let this = id(item, key)?;
        loop {
            let Some(next) = wanted.get(at) else {
                return unfit(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    go_json(&Value::List(patch.to_vec())),
                    go_json(&Value::List(wanted.to_vec()))
                ));
            };
            at += 1;
            if id(next, key)? == this {
                break;
            }
        }
    }
    Ok(())
}

/// Orders `merged`: items that `wanted` names in its order, the others in the order of `live`, interleaved so that
/// one of the others stands before a named item if it did so in `live`.
pub(super) fn arrange(
    merged: Vec<Value>,
    wanted: &[Value],
    live: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let ids = |list: &[Value]| -> Result<Vec<Value>, PatchError> {
        list.iter()
            .filter(|v| v.get(PATCH).is_none())
            .map(|v| id(v, key).cloned())
            .collect()
    };
    let (wanted, live) = (ids(wanted)?, ids(live)?);
    let at = |list: &[Value], item: &Value| {
        id(item, key)
            .ok()
            .and_then(|id| list.iter().position(|v| v == id))
    };
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        id(&item, key)?;
        match at(&wanted, &item) {
            Some(n) => named.push((n, item)),
            None => others.push((at(&live, &item).unwrap_or(usize::MAX), item)),
        }
    }
    named.sort_by_key(|(n, _)| *n);
    others.sort_by_key(|(n, _)| *n);
    let mut out = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().map(|(_, v)| v).peekable();
    for (_, item) in named {
        let right = at(&live, &item);
        while let (Some(left), Some(right)) = (others.peek().and_then(|v| at(&live, v)), right) {
            if left >= right {
                break;
            }
            out.extend(others.next());
        }
        out.push(item);
    }
    out.extend(others);
    Ok(out)
}
