//! What makes a pod of a StatefulSet that very pod.

use crate::common::Object;
use crate::common::claim::{controller_ref, reference};
use crate::common::revisions::POD_HASH;
use crate::kinds::{OwnerReference, PersistentVolumeClaim, Pod, StatefulSet, Volume};
use api::core::v1::PersistentVolumeClaimVolumeSource;
use client::Patch;
use runtime::{Cx, Error};
use serde_json::json;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The first ordinal.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().and_then(|o| o.start).unwrap_or(0)
}

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// A pod's ordinal, if its name is one of the set's.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let digits = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    let canonical = digits == "0" || !digits.starts_with('0');
    (canonical && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())
        .flatten()
}

/// Whether a pod is beyond the set's size.
pub(super) fn scaled_away(set: &StatefulSet, pod: &Pod) -> bool {
    let at = ordinal(set, pod).unwrap_or(0);
    at < start(set) || at >= start(set) + replicas(set)
}

fn retention(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_ref();
    let deletes = |v: Option<&String>| v.is_some_and(|v| v == "Delete");
    (
        deletes(policy.and_then(|p| p.when_deleted.as_ref())),
        deletes(policy.and_then(|p| p.when_scaled.as_ref())),
    )
}

/// The claims of one pod.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = set.spec.volume_claim_templates.iter().flatten();
    let (with_set, _) = retention(set);
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(format!("{}-{}-{ordinal}", template.name(), set.name()));
        claim.metadata.namespace = set.metadata.namespace.clone();
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.extend(set.spec.selector.match_labels.clone().unwrap_or_default());
        if with_set {
            claim.metadata.owner_references = Some(vec![reference(set)]);
        }
        claim.status = None;
        claim
    };
    templates.map(claim).collect()
}

/// Before a pod that is scaled away goes, its claims are tied to it, if the set says that they go too.
pub(super) async fn retire_claims(cx: &Cx, set: &StatefulSet, pod: &Pod) -> Result<(), Error> {
    let (_, when_scaled) = retention(set);
    let Some(ordinal) = ordinal(set, pod).filter(|_| when_scaled) else {
        return Ok(());
    };
    for claim in claims(set, ordinal) {
        let OwnerReference {
            api_version,
            kind,
            name,
            uid,
            ..
        } = reference(pod);
        let owners = json!([{ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid }]);
        let patch = Patch::Strategic(json!({ "metadata": { "ownerReferences": owners } }));
        match cx
            .patch::<PersistentVolumeClaim>(claim.namespace(), claim.name(), &patch)
            .await
        {
            Err(e) if !e.is_not_found() => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

/// The pod of an ordinal, of the set's template.
pub(super) fn pod(set: &StatefulSet, ordinal: i32, revision: &str) -> Pod {
    let mut pod = crate::replicaset::pod_of(set, &set.spec.template);
    let name = format!("{}-{ordinal}", set.name());
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    pod.metadata.owner_references = Some(vec![controller_ref(set)]);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.into(), name.clone());
    labels.insert(POD_INDEX.into(), ordinal.to_string());
    labels.insert(POD_HASH.into(), revision.into());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.service_name.clone().filter(|s| !s.is_empty());
    let templates: Vec<&str> = set
        .spec
        .volume_claim_templates
        .iter()
        .flatten()
        .map(Object::name)
        .collect();
    let mut volumes: Vec<Volume> = spec.volumes.take().unwrap_or_default();
    volumes.retain(|v| !templates.contains(&v.name.as_str()));
    for template in templates {
        volumes.push(Volume {
            name: template.into(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: format!("{template}-{}-{ordinal}", set.name()),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    pod
}
