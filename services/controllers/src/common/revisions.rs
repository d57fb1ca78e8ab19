//! ControllerRevisions: the history of a template, for StatefulSets and DaemonSets.
//!
//! `data` is the strategic merge patch that upstream writes: `{"spec":{"template":{…,"$patch":"replace"}}}`, so that
//! `kubectl rollout undo` can apply it. Two revisions are the same if that data is.

use super::claim::{claimed, controller_ref};
use super::{Meta, Object, hash};
use crate::kinds::{ControllerRevision, ObjectMeta, PodTemplateSpec};
use machinery::selector::Selector;
use runtime::{Cx, Error};
use std::collections::BTreeMap;

/// The label with the hash of a StatefulSet's revision.
pub(crate) const HASH: &str = "controller.kubernetes.io/hash";
/// The label of pods (and of a DaemonSet's revisions) that tells their revision.
pub(crate) const POD_HASH: &str = "controller-revision-hash";

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
    label: &str,
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
    labels.insert(label.into(), hash.clone());
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

/// The object as it was at a revision: its template replaced by the revision's.
pub(crate) fn at<O: Object>(owner: &O, revision: &ControllerRevision) -> Result<O, Error> {
    let bad = |e: String| Error::Invalid(format!("ControllerRevision {}: {e}", revision.name()));
    let mut object: serde_json::Value =
        serde_json::from_slice(&owner.encode_json()).map_err(|e| bad(e.to_string()))?;
    let mut template = revision.data.0["spec"]["template"].clone();
    if let Some(map) = template.as_object_mut() {
        map.remove("$patch");
    }
    object["spec"]["template"] = template;
    O::decode(object.to_string().as_bytes()).map_err(|e| bad(e.to_string()))
}

/// An owner's history.
#[derive(Debug)]
pub(crate) struct History {
    /// All revisions, oldest first, the newest with the present template.
    pub(crate) all: Vec<ControllerRevision>,
    /// How often a name was taken by another template.
    pub(crate) collisions: Option<i32>,
}

impl History {
    /// The revision of the present template.
    pub(crate) fn newest(&self) -> Result<&ControllerRevision, Error> {
        self.all
            .last()
            .ok_or_else(|| Error::NotYet("there is no revision yet".into()))
    }
}

/// Brings an owner's history up to date: its present template is the newest revision. One that existed before is
/// given the next number instead of being made twice.
pub(crate) async fn sync<O: Object>(
    cx: &Cx,
    owner: &O,
    template: &PodTemplateSpec,
    selector: &Selector,
    label: &str,
    collisions: Option<i32>,
) -> Result<History, Error> {
    let mut all: Vec<ControllerRevision> = claimed(cx, owner, selector).await?;
    sort(&mut all);
    let mut history = History { all, collisions };
    let wanted = make(owner, template, label, next_number(&history.all), collisions);
    if let Some(at) = history.all.iter().rposition(|r| same(r, &wanted)) {
        if at + 1 < history.all.len() {
            let mut again = history.all.remove(at);
            again.revision = wanted.revision;
            history.all.push(cx.replace(&again).await?);
        }
        return Ok(history);
    }
    match cx.create(&wanted).await {
        Ok(made) => history.all.push(made),
        Err(e) if e.is_already_exists() => {
            let found = cx
                .api::<ControllerRevision>(wanted.namespace())
                .get(wanted.name())
                .await?;
            if same(&found, &wanted) && super::claim::is_controlled_by(&found, owner.uid()) {
                return Err(Error::NotYet(format!(
                    "waiting to see ControllerRevision {}",
                    wanted.name()
                )));
            }
            history.collisions = Some(collisions.unwrap_or(0) + 1);
            let wanted = make(
                owner,
                template,
                label,
                next_number(&history.all),
                history.collisions,
            );
            history.all.push(cx.create(&wanted).await?);
        }
        Err(e) => return Err(e.into()),
    }
    Ok(history)
}

/// Deletes the oldest revisions over the limit that nothing uses.
pub(crate) async fn trim(
    cx: &Cx,
    history: &History,
    limit: Option<i32>,
    used: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), Error> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(10);
    let unused: Vec<_> = history
        .all
        .iter()
        .rev()
        .skip(1)
        .rev()
        .filter(|r| !used(r))
        .collect();
    for old in unused.iter().take(unused.len().saturating_sub(limit)) {
        cx.delete(*old, client::DeleteParams::default()).await?;
    }
    Ok(())
}
