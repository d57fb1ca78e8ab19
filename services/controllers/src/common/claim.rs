//! Which objects an owner manages: adopting orphans that match its selector, releasing what no longer does.
//!
//! Upstream's `ControllerRefManager`. Adopting looks at the owner once more at the server, because a cached owner may have
//! been deleted and made anew under the same name.

use super::{Meta, Object};
use client::Patch;
use machinery::selector::Selector;
use runtime::{Cx, Error};
use serde_json::json;

use crate::kinds::OwnerReference;

/// The reference by which an owner manages an object.
pub(crate) fn controller_ref<O: Object>(owner: &O) -> OwnerReference {
    OwnerReference {
        block_owner_deletion: Some(true),
        controller: Some(true),
        ..reference(owner)
    }
}

/// A reference to an owner that does not manage the object.
pub(crate) fn reference<O: Object>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: if O::GROUP.is_empty() {
            O::VERSION.into()
        } else {
            format!("{}/{}", O::GROUP, O::VERSION)
        },
        kind: O::KIND.into(),
        name: owner.name().into(),
        uid: owner.uid().into(),
        ..OwnerReference::default()
    }
}

/// The managing owner's reference.
pub(crate) fn controller_of<K: Object>(object: &K) -> Option<&OwnerReference> {
    object
        .meta()
        .owner_references
        .iter()
        .flatten()
        .find(|o| o.controller == Some(true))
}

/// Whether an object is managed by the owner with this uid.
pub(crate) fn is_controlled_by<K: Object>(object: &K, uid: &str) -> bool {
    controller_of(object).is_some_and(|o| o.uid == uid)
}

/// What becomes of one candidate.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Keep,
    Adopt,
    Release,
    Ignore,
}

fn decide<K: Object>(owner: (&str, bool), selector: &Selector, object: &K) -> Fate {
    let (uid, owner_deleting) = owner;
    let matches = runtime::selector::matches(selector, object.meta().labels.as_ref());
    match controller_of(object) {
        Some(other) if other.uid != uid => Fate::Ignore,
        Some(_) if matches => Fate::Keep,
        Some(_) if owner_deleting => Fate::Ignore,
        Some(_) => Fate::Release,
        None if owner_deleting || !matches || object.deleting() => Fate::Ignore,
        None => Fate::Adopt,
    }
}

/// The objects of a kind that an owner manages, after adopting and releasing.
pub(crate) async fn claimed<O: Object, K: Object>(
    cx: &Cx,
    owner: &O,
    selector: &Selector,
) -> Result<Vec<K>, Error> {
    let uid = owner.uid();
    let candidates: Vec<K> = cx.list_where(Some(owner.ns()), |e| match e.header.controller() {
        Some(o) => *o.uid == *uid,
        None => e.header.matches(selector),
    })?;
    let mut checked = false;
    let mut mine = Vec::new();
    for object in candidates {
        match decide((uid, owner.deleting()), selector, &object) {
            Fate::Ignore => {}
            Fate::Keep => mine.push(object),
            Fate::Adopt => {
                if !checked {
                    let fresh = cx.api::<O>(owner.ns()).get(owner.name()).await?;
                    if fresh.uid() != uid || fresh.deleting() {
                        return Err(Error::NotYet(format!(
                            "{} {} is not what the cache says",
                            O::KIND,
                            owner.name()
                        )));
                    }
                    checked = true;
                }
                let r = controller_ref(owner);
                let patch = json!({ "metadata": { "uid": object.uid(), "ownerReferences": [{
                    "apiVersion": r.api_version, "kind": r.kind, "name": r.name, "uid": r.uid,
                    "controller": true, "blockOwnerDeletion": true,
                }]}});
                match cx
                    .patch::<K>(object.ns(), object.name(), &Patch::Strategic(patch))
                    .await
                {
                    Ok(adopted) => mine.push(adopted),
                    Err(e) if e.is_not_found() || e.is_invalid() || e.is_conflict() => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Fate::Release => {
                let patch = json!({ "metadata": { "uid": object.uid(), "ownerReferences": [
                    { "$patch": "delete", "uid": uid },
                ]}});
                match cx
                    .patch::<K>(object.ns(), object.name(), &Patch::Strategic(patch))
                    .await
                {
                    Ok(_) => {}
                    Err(e) if e.is_not_found() || e.is_invalid() || e.is_conflict() => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
    Ok(mine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn an_orphan_is_adopted_and_a_stranger_left_alone() {
        let selector = Selector::parse("app=web").unwrap();
        let orphan = pod(r#"{"metadata":{"labels":{"app":"web"}}}"#);
        let mine = pod(
            r#"{"metadata":{"labels":{"app":"web"},"ownerReferences":[{"apiVersion":"v1","kind":"X","name":"x","uid":"u","controller":true}]}}"#,
        );
        let mut moved = mine.clone();
        moved.metadata.labels = None;
        assert_eq!(decide(("u", false), &selector, &orphan), Fate::Adopt);
        assert_eq!(decide(("u", true), &selector, &orphan), Fate::Ignore);
        assert_eq!(decide(("u", false), &selector, &mine), Fate::Keep);
        assert_eq!(decide(("v", false), &selector, &mine), Fate::Ignore);
        assert_eq!(decide(("u", false), &selector, &moved), Fate::Release);
    }
}
