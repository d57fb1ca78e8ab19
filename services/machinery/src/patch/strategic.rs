//! Strategic merge patch: merge patch that knows which lists merge, and by which key.
//!
//! What a field's list does comes from the schema (`patchStrategy`, `patchMergeKey`). Directives in the patch:
//! `$patch: replace | delete | merge`, `$retainKeys`, `$setElementOrder/<list>`, `$deleteFromPrimitiveList/<list>`.
//! Members of a patch are applied in the order they stand. Source: `k8s.io/apimachinery/pkg/util/strategicpatch`.

mod order;
#[cfg(test)]
mod tests;

use super::PatchError;
use crate::quote::go_json;
use crate::{Catalog, Field, FieldType, Map, TypeId, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_ORDER: &str = "invalid patch format of setElementOrder list";

/// What the schema says of the place where the merge is.
#[derive(Clone, Copy)]
struct Place<'c> {
    catalog: &'c Catalog,
    here: Here<'c>,
}

#[derive(Clone, Copy)]
enum Here<'c> {
    /// An object of a known type.
    Type(TypeId),
    /// An object with free keys.
    Entries(&'c FieldType),
    /// Anything else: merged as JSON.
    Opaque,
}

/// How a member merges.
#[derive(Clone, Copy)]
struct Member<'c> {
    /// Inside the member (for a list: inside its items).
    place: Place<'c>,
    merge: bool,
    key: Option<&'static str>,
}

impl<'c> Place<'c> {
    fn of(catalog: &'c Catalog, ty: &'c FieldType) -> Self {
        let here = match ty {
            FieldType::Object(id) => Here::Type(*id),
            FieldType::Map(inner) => Here::Entries(inner),
            FieldType::List(inner) => return Self::of(catalog, inner),
            _ => Here::Opaque,
        };
        Self { catalog, here }
    }

    fn member(self, name: &str) -> Result<Member<'c>, PatchError> {
        let catalog = self.catalog;
        match self.here {
            Here::Type(id) => {
                let ty = catalog.ty(id);
                let Some(field) = ty.field(name) else {
                    if ty.preserve_unknown {
                        let place = Self {
                            catalog,
                            here: Here::Opaque,
                        };
                        return Ok(Member {
                            place,
                            merge: false,
                            key: None,
                        });
                    }
                    let short = ty.name.rsplit('.').next().unwrap_or(ty.name);
                    return Err(PatchError::Unfit(format!(
                        "unable to find api field in struct {short} for the json field {name:?}"
                    )));
                };
                let Field {
                    ty,
                    patch_merge,
                    patch_merge_key,
                    ..
                } = field;
                Ok(Member {
                    place: Self::of(catalog, ty),
                    merge: *patch_merge,
                    key: *patch_merge_key,
                })
            }
            Here::Entries(inner) => Ok(Member {
                place: Self::of(catalog, inner),
                merge: false,
                key: None,
            }),
            Here::Opaque => Ok(Member {
                place: self,
                merge: false,
                key: None,
            }),
        }
    }
}

fn malformed<T>(text: &str) -> Result<T, PatchError> {
    Err(PatchError::Malformed(text.to_owned()))
}
fn unfit<T>(text: String) -> Result<T, PatchError> {
    Err(PatchError::Unfit(text))
}

/// Applies `patch` to an object of type `ty`.
///
/// # Errors
/// [`PatchError::Malformed`] for a patch that is no object or misuses a directive, [`PatchError::Unfit`] for one
/// that does not fit the type.
pub fn apply(object: &mut Value, patch: Value, ty: TypeId, catalog: &Catalog) -> Result<(), PatchError> {
    let (Value::Map(target), Value::Map(patch)) = (&mut *object, patch) else {
        return malformed("invalid JSON document");
    };
    let place = Place {
        catalog,
        here: Here::Type(ty),
    };
    *object = Value::Map(merge_map(std::mem::take(target), patch, place)?);
    Ok(())
}

fn merge_map(mut target: Map, mut patch: Map, place: Place<'_>) -> Result<Map, PatchError> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => unfit(format!(
                "unknown patch type: {} in map: {}",
                directive
                    .as_str()
                    .map_or_else(|| go_json(&directive), str::to_owned),
                go_json(&Value::Map(patch))
            )),
        };
    }
    retain_keys(&mut target, &mut patch)?;
    set_orders(&mut target, &mut patch, place)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM_LIST) {
            delete_from_list(&mut target, list, &value)?;
            continue;
        }
        if key.starts_with("$deleteFromPrimitiveList") {
            return malformed(BAD_PRIMITIVE_LIST);
        }
        if value.is_null() {
            target.remove(&key);
            continue;
        }
        let Some(slot) = target.get_mut(&key) else {
            if let Some(value) = without_directives(without_nulls(value)) {
                target.push_new(key, value);
            }
            continue;
        };
        match (slot.take(), value) {
            (Value::Map(old), Value::Map(new)) => {
                let member = place.member(&key)?;
                *slot = Value::Map(merge_map(old, new, member.place)?);
            }
            (Value::List(old), Value::List(new)) => {
                let member = place.member(&key)?;
                *slot = Value::List(merge_list(old, new, member)?);
            }
            (_, new) => match without_directives(without_nulls(new)) {
                Some(new) => *slot = new,
                None => {
                    target.remove(&key);
                }
            },
        }
    }
    Ok(target)
}

/// `$retainKeys`: what it does not list goes away, and the patch may set nothing else.
fn retain_keys(target: &mut Map, patch: &mut Map) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::List(keys) = keys else {
        return malformed(BAD_RETAIN_KEYS);
    };
    let listed = |k: &str| keys.iter().any(|v| v.as_str() == Some(k));
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER);
        if !value.is_null() && !directive && !listed(key) {
            return malformed(BAD_RETAIN_KEYS);
        }
    }
    target.retain(|k, _| listed(k));
    Ok(())
}

/// `$setElementOrder/x`: merges list x, if the patch has it, and then orders it.
fn set_orders(target: &mut Map, patch: &mut Map, place: Place<'_>) -> Result<(), PatchError> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|k| k.starts_with("$setElementOrder"))
        .map(str::to_owned)
        .collect();
    for directive in directives {
        let Some(wanted) = patch.remove(&directive) else {
            continue;
        };
        let Value::List(wanted) = wanted else {
            return unfit(format!(
                "expected a []interface {{}}, but received a {}",
                go_type(&wanted)
            ));
        };
        let Some(name) = directive.strip_prefix(SET_ORDER) else {
            return malformed(BAD_ORDER);
        };
        let member = place.member(name)?;
        let old = list(target.remove(name))?;
        let new = list(patch.remove(name))?;
        order::check(new.as_deref().unwrap_or_default(), &wanted, member.key)?;
        let merged = match (old.clone(), new) {
            (Some(old), None) => old,
            (None, Some(new)) => {
                let kept = without_directives(without_nulls(Value::List(new)));
                if let Some(Value::List(kept)) = kept {
                    kept
                } else {
                    Vec::new()
                }
            }
            (Some(old), Some(new)) => merge_list(old, new, member)?,
            (None, None) => continue,
        };
        let live = old.unwrap_or_default();
        target.push_new(
            name.to_owned(),
            Value::List(order::arrange(merged, &wanted, &live, member.key)?),
        );
    }
    Ok(())
}

fn list(value: Option<Value>) -> Result<Option<Vec<Value>>, PatchError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::List(l)) => Ok(Some(l)),
        Some(other) => unfit(format!(
            "expected a []interface {{}}, but received a {}",
            go_type(&other)
        )),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::Str(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
    }
}

fn delete_from_list(target: &mut Map, name: &str, gone: &Value) -> Result<(), PatchError> {
    let Some(gone) = gone.as_list() else {
        return malformed(BAD_PRIMITIVE_LIST);
    };
    if let Some(Value::List(have)) = target.get_mut(name) {
        have.retain(|v| !gone.contains(v));
    }
    Ok(())
}

fn merge_list(old: Vec<Value>, new: Vec<Value>, member: Member<'_>) -> Result<Vec<Value>, PatchError> {
    if !member.merge {
        return Ok(new);
    }
    let kind = |v: &Value| std::mem::discriminant(v);
    let Some(first) = old.first().or(new.first()) else {
        return Ok(old);
    };
    if matches!(first, Value::List(_)) {
        return Err(PatchError::Unprocessable(
            "lists of lists are not supported".into(),
        ));
    }
    if !old.iter().chain(&new).all(|v| kind(v) == kind(first)) {
        return unfit(format!(
            "list element types are not identical: {} {}",
            go_json(&Value::List(old)),
            go_json(&Value::List(new))
        ));
    }
    if !matches!(first, Value::Map(_)) {
        let mut merged = old.clone();
        merged.extend(new.iter().filter(|v| !old.contains(v)).cloned());
        dedup(&mut merged);
        return order::arrange(merged, &new, &old, None);
    }
    let Some(key) = member.key else {
        return unfit("cannot merge lists without merge key for struct".to_owned());
    };
    let (mut merged, new) = special_items(old, new, key)?;
    let live = merged.clone();
    let order = new.clone();
    for item in new {
        let Value::Map(item) = item else { continue };
        let Some(id) = item.get(key) else {
            return no_merge_key(&item, key);
        };
        match merged.iter_mut().find(|v| v.get(key) == Some(id)) {
            Some(slot) => {
                let Value::Map(old) = slot.take() else { continue };
                *slot = Value::Map(merge_map(old, item, member.place)?);
            }
            None => {
                // A new item is taken as it stands, but for nulls and directives inside.
                if let Some(item) = without_directives(without_nulls(Value::Map(item))) {
                    merged.push(item);
                }
            }
        }
    }
    order::arrange(merged, &order, &live, Some(key))
}

fn no_merge_key<T>(item: &Map, key: &str) -> Result<T, PatchError> {
    unfit(format!(
        "map: {} does not contain declared merge key: {key}",
        go_json(&Value::Map(item.clone()))
    ))
}

/// Takes the items with `$patch` out of a list's patch and does what they say.
fn special_items(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut ordinary = Vec::with_capacity(new.len());
    let mut replace = false;
    for item in new {
        match item[PATCH].as_str() {
            None if item.get(PATCH).is_none() => ordinary.push(item),
            Some("delete") => match item.get(key) {
                Some(id) => old.retain(|v| v.get(key) != Some(id)),
                None => return no_merge_key(item.as_map().unwrap_or(&Map::new()), key),
            },
            Some("replace") => replace = true,
            Some("merge") => return unfit("merging lists cannot yet be specified in the patch".into()),
            _ => {
                let what = item[PATCH]
                    .as_str()
                    .map_or_else(|| go_json(&item[PATCH]), str::to_owned);
                return unfit(format!("unknown patch type: {what} in map: {}", go_json(&item)));
            }
        }
    }
    Ok(if replace {
        (ordinary, Vec::new())
    } else {
        (old, ordinary)
    })
}

fn dedup(list: &mut Vec<Value>) {
    let mut at = 0;
    while at < list.len() {
        if list[..at].contains(&list[at]) {
            list.remove(at);
        } else {
            at += 1;
        }
    }
}

/// Removes members that are null, at any depth.
fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Map(map) => map.retain(|_, v| {
            *v = without_nulls(v.take());
            !v.is_null()
        }),
        Value::List(list) => list.iter_mut().for_each(|v| *v = without_nulls(v.take())),
        _ => {}
    }
    value
}

/// Removes objects that carry `$patch`; `None` if the value itself does.
fn without_directives(mut value: Value) -> Option<Value> {
    match &mut value {
        Value::Map(map) => {
            if map.contains_key(PATCH) {
                return None;
            }
            map.retain(|_, v| keep_without_directives(v));
        }
        Value::List(list) => list.retain_mut(keep_without_directives),
        _ => {}
    }
    Some(value)
}

fn keep_without_directives(slot: &mut Value) -> bool {
    match without_directives(slot.take()) {
        Some(value) => {
            *slot = value;
            true
        }
        None => false,
    }
}
