//! Short ways to objects, for tests.

use crate::kinds::Pod;
use api::Object;

/// Any object from JSON.
pub(crate) fn object<K: Object>(json: &str) -> K {
    K::decode(json.as_bytes()).unwrap_or_else(|e| panic!("{e}: {json}"))
}

/// A pod from JSON; a spec may be missing.
pub(crate) fn pod(json: &str) -> Pod {
    object(json)
}

/// A moment.
pub(crate) fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap_or_else(|e| panic!("{e}: {text}"))
}
