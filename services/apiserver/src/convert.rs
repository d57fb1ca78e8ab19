//! Conversion between served versions of built-in kinds.
//!
//! Nearly all kinds look the same in all their served versions, and only `apiVersion` changes. The exceptions have a
//! function here: HorizontalPodAutoscaler (autoscaling/v1 keeps what it lacks in annotations) and Event.

mod event;
mod hpa;

use machinery::{Resource, Value};

/// Turns an object of one version into another. Objects of the same version are returned as they are.
pub(crate) fn convert(mut object: Value, from: &Resource, to: &Resource) -> Value {
    if from.version == to.version && from.group == to.group {
        return object;
    }
    match (from.kind, from.group, from.version) {
        ("Event", "", "v1") => event::to_events(&mut object),
        ("Event", "events.k8s.io", "v1") => event::to_core(&mut object),
        ("HorizontalPodAutoscaler", "autoscaling", "v2") => hpa::to_v1(&mut object),
        ("HorizontalPodAutoscaler", "autoscaling", "v1") => hpa::to_v2(&mut object),
        _ => {}
    }
    if let Value::Map(map) = &mut object {
        map.insert("apiVersion", to.api_version());
        map.insert("kind", to.kind);
    }
    object
}
