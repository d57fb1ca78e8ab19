//! Event: `v1` and `events.k8s.io/v1` are the same record under two sets of names.
//!
//! Source: `pkg/apis/core` and `pkg/apis/events` of upstream: the stored form is `v1`'s.

use machinery::Value;

/// `v1` name and `events.k8s.io/v1` name.
const NAMES: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Value, from: &str, to: &'static str) {
    if let Value::Map(map) = object
        && let Some(value) = map.remove(from)
    {
        map.insert(to, value);
    }
}

/// `v1` to `events.k8s.io/v1`.
pub(super) fn to_events(object: &mut Value) {
    for (core, events) in NAMES {
        rename(object, core, events);
    }
    rename(object, "reportingComponent", "reportingController");
}

/// `events.k8s.io/v1` to `v1`.
pub(super) fn to_core(object: &mut Value) {
    for (core, events) in NAMES {
        rename(object, events, core);
    }
    rename(object, "reportingController", "reportingComponent");
}
