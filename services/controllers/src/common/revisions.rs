//! ControllerRevisions: the history of a template, for StatefulSets and DaemonSets.
//!
//! `data` is the strategic merge patch that upstream writes: `{"spec":{"template":{…,"$patch":"replace"}}}`, so that
//! `kubectl rollout undo` can apply it. Two revisions are the same if that data is.

use super::claim::controller_ref;
use super::{Meta, Object, hash};
use crate::kinds::{ControllerRevision, ObjectMeta, PodTemplateSpec};
use std::collections::BTreeMap;

/// The label with the hash of a revision.
pub(crate) const HASH: &str = "controller.kubernetes.io/hash";

/// A template as the JSON tree that a revision keeps.
pub(crate) fn data<O: Object>(owner: &O) -> serde_json::Value {
    let object: serde_json::Value = serde_json::from_slice(&owner.encode_json()).unwrap_or_default();
    let mut template = object["spec"]["template"].clone();
    if let Some(map) = template.as_object_mut() {
        map.insert("$patch".into(), "replace".into());
    }
    serde_json::json!({ "spec": { "template": template } })
}

/// A revision that is not stored yet.
pub(crate) fn make<O: Object>(
    owner: &O,
    template: &PodTemplateSpec,
    number: i64,
    collisions: Option<i32>,
) -> ControllerRevision {
    let data = data(owner);
    let hash = hash::template(data.to_string().as_bytes(), collisions);
    let mut labels: BTreeMap<String, String> = template
        .metadata
        .as_ref()
        .and_then(|m| m.labels.clone())
        .unwrap_or_default();
    labels.insert(HASH.into(), hash.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!(
                "{}-{hash}",
                owner.name().chars().take(223).collect::<String>()
            )),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        data: api::k8s_openapi::apimachinery::pkg::runtime::RawExtension(data),
        revision: Some(number),
    }
}

/// Whether two revisions describe the same template.
pub(crate) fn same(a: &ControllerRevision, b: &ControllerRevision) -> bool {
    a.data == b.data
}

/// A revision's number.
pub(crate) fn number(revision: &ControllerRevision) -> i64 {
    revision.revision.unwrap_or(0)
}

/// Oldest first.
pub(crate) fn sort(revisions: &mut [ControllerRevision]) {
    revisions.sort_by(|a, b| (number(a), a.created(), a.name()).cmp(&(number(b), b.created(), b.name())));
}

/// The number that a new revision gets.
pub(crate) fn next_number(revisions: &[ControllerRevision]) -> i64 {
    revisions.iter().map(number).max().unwrap_or(0) + 1
}
