//! The tree that a request works on.
//!
//! It is a JSON value with three differences that matter here: keys that the schema knows are `&'static str` (no
//! allocation), integers and floats are different (Kubernetes never has a float where an integer stands), and maps
//! keep the order of insertion in a plain vector, since objects are small. It is never cached.
//! Rejected: `serde_json::Value`, whose maps and keys cost several allocations a field; a bump arena, whose lifetime
//! would be in the signature of every rule, for a gain that was not measured yet.

use std::borrow::Cow;
use std::ops::Index;

/// A map key: static when the schema knows the field.
pub type Key = Cow<'static, str>;

/// A JSON-like value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits in 64 bits, signed.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Str(Cow<'static, str>),
    /// A list.
    List(Vec<Value>),
    /// An object.
    Map(Map),
}

/// An ordered map with string keys; equality does not depend on the order.
#[derive(Clone, Debug, Default)]
pub struct Map(Vec<(Key, Value)>);

static NULL: Value = Value::Null;

impl Map {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }
    /// An empty map with room for `n` entries.
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }
    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// A map of entries whose keys differ.
    pub(crate) fn from_unique(entries: Vec<(Key, Value)>) -> Self {
        Self(entries)
    }
    /// Sorts by key, keeping the last of equal keys.
    pub(crate) fn sort_unique(&mut self) {
        if self.0.windows(2).all(|w| w[0].0 < w[1].0) {
            return;
        }
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
        self.0.reverse();
        self.0.dedup_by(|a, b| a.0 == b.0);
        self.0.reverse();
    }
    fn position(&self, key: &str) -> Option<usize> {
        self.0.iter().position(|(k, _)| k == key)
    }
    /// Whether there is an entry (even a null one).
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_some()
    }
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }
    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(k, _)| k == key).map(|(_, v)| v)
    }
    /// Sets a value and returns the one that stood there.
    pub fn insert(&mut self, key: impl Into<Key>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.get_mut(&key) {
            Some(slot) => Some(std::mem::replace(slot, value)),
            None => {
                self.0.push((key, value));
                None
            }
        }
    }
    /// Appends without looking for the key; the caller knows that it is not there.
    pub fn push_new(&mut self, key: impl Into<Key>, value: Value) {
        self.0.push((key.into(), value));
    }
    /// The value of a key, which is first set to what `make` returns if it is missing or null.
    pub fn entry(&mut self, key: impl Into<Key>, make: impl FnOnce() -> Value) -> &mut Value {
        let key = key.into();
        let at = match self.position(&key) {
            Some(at) => at,
            None => {
                self.0.push((key, Value::Null));
                self.0.len() - 1
            }
        };
        let slot = &mut self.0[at].1;
        if slot.is_null() {
            *slot = make();
        }
        slot
    }
    /// The map under a key, made if missing, null or of another type.
    pub fn map_entry(&mut self, key: impl Into<Key>) -> &mut Map {
        let slot = self.entry(key, || Value::Map(Map::new()));
        if !matches!(slot, Value::Map(_)) {
            *slot = Value::Map(Map::new());
        }
        match slot {
            Value::Map(m) => m,
            _ => unreachable!("was just made a map"),
        }
    }
    /// Removes an entry, keeping the order of the others.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).map(|at| self.0.remove(at).1)
    }
    /// Keeps the entries for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.0.retain_mut(|(k, v)| keep(k, v));
    }
    /// Entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> + Clone {
        self.0.iter().map(|(k, v)| (&**k, v))
    }
    /// Entries in order, values to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(k, v)| (&**k, v))
    }
    /// Keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(k, _)| &**k)
    }
    /// Sorts the entries by key.
    pub fn sort_keys(&mut self) {
        self.0.sort_by(|a, b| a.0.cmp(&b.0));
    }
}

impl IntoIterator for Map {
    type Item = (Key, Value);
    type IntoIter = std::vec::IntoIter<(Key, Value)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(Key, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(iter: I) -> Self {
        let mut map = Self::new();
        for (k, v) in iter {
            map.insert(k, v);
        }
        map
    }
}

impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        if self.len() != other.len() {
            return false;
        }
        // Mostly both have the same order; only from the first difference on are keys looked up, and in big maps sorted.
        let same = self
            .iter()
            .zip(other.iter())
            .take_while(|(a, b)| a.0 == b.0)
            .count();
        if !self.iter().zip(other.iter()).take(same).all(|(a, b)| a.1 == b.1) {
            return false;
        }
        let (mine, others) = (&self.0[same..], &other.0[same..]);
        if mine.len() <= 16 {
            return mine
                .iter()
                .all(|(k, v)| others.iter().any(|(l, w)| k == l && v == w));
        }
        let sorted = |entries: &'_ [(Key, Value)]| {
            let mut order: Vec<usize> = (0..entries.len()).collect();
            order.sort_by(|&a, &b| entries[a].0.cmp(&entries[b].0));
            order
        };
        let (a, b) = (sorted(mine), sorted(others));
        a.iter().zip(b).all(|(&a, b)| mine[a] == others[b])
    }
}

impl Value {
    /// An empty object.
    pub fn map() -> Self {
        Self::Map(Map::new())
    }
    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
    /// Null, false, 0, "", an empty list or an empty object: what Go's `omitempty` leaves out.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(b) => !b,
            Self::Int(n) => *n == 0,
            Self::Float(f) => *f == 0.0,
            Self::Str(s) => s.is_empty(),
            Self::List(l) => l.is_empty(),
            Self::Map(m) => m.is_empty(),
        }
    }
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(s) = self { Some(s) } else { None }
    }
    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Int(n) = self { Some(*n) } else { None }
    }
    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }
    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&[Value]> {
        if let Self::List(l) = self { Some(l) } else { None }
    }
    /// The list, to be changed.
    pub fn as_list_mut(&mut self) -> Option<&mut Vec<Value>> {
        if let Self::List(l) = self { Some(l) } else { None }
    }
    /// The object, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        if let Self::Map(m) = self { Some(m) } else { None }
    }
    /// The object, to be changed.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        if let Self::Map(m) = self { Some(m) } else { None }
    }
    /// The member of an object; `None` if it is no object or has no such member.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map().and_then(|m| m.get(key))
    }
    /// The member of an object, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.as_map_mut().and_then(|m| m.get_mut(key))
    }
    /// Follows members: `v.at(&["metadata", "name"])`. Null where the path ends early.
    pub fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(self, |v, key| &v[*key])
    }
    /// The string at a path.
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).as_str()
    }
    /// The integer at a path.
    pub fn int_at(&self, path: &[&str]) -> Option<i64> {
        self.at(path).as_i64()
    }
    /// The list at a path; empty where there is none.
    pub fn list_at(&self, path: &[&str]) -> &[Value] {
        self.at(path).as_list().unwrap_or(&[])
    }
    /// Follows members and makes the objects that are missing on the way; whatever is no object is replaced by one.
    pub fn at_mut(&mut self, path: &[&'static str]) -> &mut Map {
        let mut here = self;
        if !matches!(here, Self::Map(_)) {
            *here = Self::map();
        }
        for key in path {
            let Self::Map(map) = here else {
                unreachable!("made a map above")
            };
            here = map.entry(*key, Self::map);
            if !matches!(here, Self::Map(_)) {
                *here = Self::map();
            }
        }
        match here {
            Self::Map(map) => map,
            _ => unreachable!("made a map above"),
        }
    }
    /// Takes the value and leaves null.
    pub fn take(&mut self) -> Value {
        std::mem::take(self)
    }
    /// What JSON calls the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::Str(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

/// Members of an object; null for what is not there.
impl Index<&str> for Value {
    type Output = Value;
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }
}

/// Items of a list; null for what is not there.
impl Index<usize> for Value {
    type Output = Value;
    fn index(&self, at: usize) -> &Value {
        self.as_list().and_then(|l| l.get(at)).unwrap_or(&NULL)
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}
impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}
impl From<i32> for Value {
    fn from(n: i32) -> Self {
        Self::Int(n.into())
    }
}
impl From<f64> for Value {
    fn from(n: f64) -> Self {
        Self::Float(n)
    }
}
impl From<&'static str> for Value {
    fn from(s: &'static str) -> Self {
        Self::Str(Cow::Borrowed(s))
    }
}
impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::Str(Cow::Owned(s))
    }
}
impl From<Map> for Value {
    fn from(m: Map) -> Self {
        Self::Map(m)
    }
}
impl From<Vec<Value>> for Value {
    fn from(l: Vec<Value>) -> Self {
        Self::List(l)
    }
}

/// Builds a [`Value`] from JSON-like text: `value!({"a": 1, "b": [x, null]})`. Anything that is no bracket is an expression.
#[macro_export]
macro_rules! value {
    (null) => { $crate::Value::Null };
    ([ $($item:tt),* $(,)? ]) => { $crate::Value::List(vec![ $( $crate::value!($item) ),* ]) };
    ({ $($key:literal : $val:tt),* $(,)? }) => {{
        #[allow(unused_mut)]
        let mut map = $crate::Map::new();
        $( map.insert($key, $crate::value!($val)); )*
        $crate::Value::Map(map)
    }};
    ($other:expr) => { $crate::Value::from($other) };
}

#[cfg(test)]
mod tests {

    #[test]
    fn paths_read_and_make() {
        let mut v = value!({"metadata": {"name": "x", "labels": null}, "list": [1, "two", {"three": 3}]});
        assert_eq!(v.str_at(&["metadata", "name"]), Some("x"));
        assert!(v.at(&["no", "such"]).is_null());
        assert_eq!(v["list"][2]["three"].as_i64(), Some(3));
        v.at_mut(&["metadata", "labels"]).insert("a", "b");
        assert_eq!(v.str_at(&["metadata", "labels", "a"]), Some("b"));
    }

    #[test]
    fn order_does_not_matter_for_equality_but_is_kept() {
        let (a, b) = (value!({"x": 1, "y": 2}), value!({"y": 2, "x": 1}));
        assert_eq!(a, b);
        assert_eq!(b.as_map().unwrap().keys().collect::<Vec<_>>(), ["y", "x"]);
        assert_ne!(a, value!({"x": 1}));
    }
}
