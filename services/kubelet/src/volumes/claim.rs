//! `persistentVolumeClaim`: the volume behind a claim, where it is a path of this node.
//!
//! Volumes of a CSI driver are not mounted yet; the error says so.

use super::{Mounted, VolumeError, host_path};
use crate::k8s::{
    HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod,
    namespace,
};
use crate::objects::Objects;
use client::Api;

/// The path behind a bound claim.
pub(super) async fn resolve(
    objects: &Objects,
    pod: &Pod,
    source: &PersistentVolumeClaimVolumeSource,
) -> Result<Mounted, VolumeError> {
    let name = &source.claim_name;
    let claims = Api::<PersistentVolumeClaim>::namespaced(objects.client(), namespace(&pod.metadata));
    let claim = claims.get_opt(name).await?;
    let claim =
        claim.ok_or_else(|| VolumeError::Claim(format!("persistentvolumeclaim {name:?} not found")))?;
    let bound = claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Bound");
    let volume = claim
        .spec
        .as_ref()
        .and_then(|s| s.volume_name.clone())
        .filter(|_| bound);
    let volume = volume.ok_or_else(|| VolumeError::Claim(format!("PVC {name} is not bound")))?;
    let volume = Api::<PersistentVolume>::all(objects.client())
        .get(&volume)
        .await?;
    let spec = volume.spec.unwrap_or_default();
    let read_only = source.read_only.unwrap_or(false);
    let path = if let Some(h) = spec.host_path {
        h
    } else if let Some(local) = spec.local {
        HostPathVolumeSource {
            path: local.path,
            type_: Some("Directory".to_owned()),
        }
    } else {
        return Err(VolumeError::Claim(format!(
            "the volume of claim {name} is of a kind that this kubelet does not support"
        )));
    };
    match super::blocking(move || host_path::check(&path)).await? {
        Mounted::Path { path, .. } => Ok(Mounted::Path { path, read_only }),
        image @ Mounted::Image { .. } => Ok(image),
    }
}
