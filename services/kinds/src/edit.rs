//! Small steps on trees that defaulting and strategies are made of.

use machinery::{Map, Value};

/// Sets a member that is missing or null.
pub(crate) fn fill(map: &mut Map, key: &'static str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key, value);
    }
}

/// Sets a member that is missing, null, "" or 0: a Go field that is no pointer.
pub(crate) fn fill_zero(map: &mut Map, key: &'static str, value: impl Into<Value>) {
    if map.get(key).is_none_or(Value::is_zero) {
        map.insert(key, value);
    }
}

/// Does something to each object of a list.
pub(crate) fn each(map: &mut Map, key: &str, mut f: impl FnMut(&mut Map)) {
    if let Some(Value::List(list)) = map.get_mut(key) {
        list.iter_mut().filter_map(Value::as_map_mut).for_each(&mut f);
    }
}

/// Does something to an object that is a member, if it is there.
pub(crate) fn within(map: &mut Map, key: &str, f: impl FnOnce(&mut Map)) {
    if let Some(Value::Map(inner)) = map.get_mut(key) {
        f(inner);
    }
}

/// Takes over entries that are missing.
pub(crate) fn fill_from(map: &mut Map, others: &Map) {
    for (key, value) in others.iter() {
        if !map.contains_key(key) {
            map.push_new(key.to_owned(), value.clone());
        }
    }
}

/// A string member; "" if there is none.
pub(crate) fn text<'a>(map: &'a Map, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a member is missing, null or empty.
pub(crate) fn lacks(map: &Map, key: &str) -> bool {
    map.get(key).is_none_or(Value::is_zero)
}
