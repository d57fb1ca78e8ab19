//! `configMap`, `secret`, `downwardAPI` and `projected`: files made from API objects.

use super::atomic::{self, File, Payload};
use super::payload::{self, DEFAULT_MODE, PayloadError, mode};
use super::subpath::{is_mount_point, mount_tmpfs};
use super::{Mounted, VolumeError};
use crate::config::security::run_as_user;
use crate::downward::NodeFacts;
use crate::k8s::{Pod, Volume, VolumeProjection, namespace};
use crate::objects::Objects;
use crate::resources::all_containers;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// The directory name of the kind and the files; `None` for other kinds of volume.
pub(super) async fn contents(
    objects: &Objects,
    pod: &Pod,
    volume: &Volume,
    facts: &NodeFacts,
) -> Result<Option<(&'static str, Payload)>, VolumeError> {
    let ns = namespace(&pod.metadata);
    if let Some(source) = &volume.config_map {
        let map = objects.config_map(ns, &source.name).await?;
        let (bits, optional) = (
            mode(source.default_mode, DEFAULT_MODE),
            source.optional == Some(true),
        );
        let files = payload::config_map(map.as_ref(), &source.name, source.items.as_ref(), bits, optional)?;
        return Ok(Some(("kubernetes.io~configmap", files)));
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let secret = objects.secret(ns, name).await?;
        let (bits, optional) = (
            mode(source.default_mode, DEFAULT_MODE),
            source.optional == Some(true),
        );
        let files = payload::secret(secret.as_ref(), name, source.items.as_ref(), bits, optional)?;
        return Ok(Some(("kubernetes.io~secret", files)));
    }
    if let Some(source) = &volume.downward_api {
        let bits = mode(source.default_mode, DEFAULT_MODE);
        let files = payload::downward_api(pod, source.items.as_ref(), bits, facts)?;
        return Ok(Some(("kubernetes.io~downward-api", files)));
    }
    if let Some(source) = &volume.projected {
        let bits = mode(source.default_mode, DEFAULT_MODE);
        let mut files = Payload::new();
        for part in source.sources.iter().flatten() {
            files.extend(projection(objects, pod, part, bits, facts).await?);
        }
        return Ok(Some(("kubernetes.io~projected", files)));
    }
    Ok(None)
}

async fn projection(
    objects: &Objects,
    pod: &Pod,
    part: &VolumeProjection,
    bits: u32,
    facts: &NodeFacts,
) -> Result<Payload, VolumeError> {
    let ns = namespace(&pod.metadata);
    if let Some(source) = &part.config_map {
        let map = objects.config_map(ns, &source.name).await?;
        let optional = source.optional == Some(true);
        return Ok(payload::config_map(
            map.as_ref(),
            &source.name,
            source.items.as_ref(),
            bits,
            optional,
        )?);
    }
    if let Some(source) = &part.secret {
        let secret = objects.secret(ns, &source.name).await?;
        let optional = source.optional == Some(true);
        return Ok(payload::secret(
            secret.as_ref(),
            &source.name,
            source.items.as_ref(),
            bits,
            optional,
        )?);
    }
    if let Some(source) = &part.downward_api {
        return Ok(payload::downward_api(pod, source.items.as_ref(), bits, facts)?);
    }
    if let Some(source) = &part.service_account_token {
        let audience = source.audience.as_deref().unwrap_or_default();
        let token = objects.token(pod, audience, source.expiration_seconds).await?;
        let owner = common_user(pod);
        let group = super::fs_group(pod);
        // A token is for its user alone where there is one; else for whoever runs in the pod.
        let bits = if owner.is_some() || group.is_some() {
            0o600
        } else {
            bits
        };
        let file = File {
            data: token.text.into_bytes(),
            mode: bits,
            owner: owner.filter(|_| group.is_none()),
        };
        return Ok(Payload::from([(source.path.clone(), file)]));
    }
    Err(VolumeError::Unsupported(
        "projected source (clusterTrustBundle or podCertificate)".to_owned(),
    ))
}

/// The user that all containers of a pod run as, if it is one.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let mut users = all_containers(spec).map(|c| run_as_user(pod, c));
    let first = users.next()??;
    users
        .all(|u| u == Some(first))
        .then(|| u32::try_from(first).ok())?
}

/// Writes the files.
pub(super) fn write(
    path: &Path,
    files: &Payload,
    group: Option<u32>,
    stamp: &str,
    in_memory: bool,
) -> Result<Mounted, VolumeError> {
    let failed = |what: &str| VolumeError::io(format!("{what} {}", path.display()));
    if let Some(bad) = files.keys().find(|p| !atomic::valid_path(p)) {
        return Err(PayloadError::Key {
            kind: "valid path for",
            key: bad.clone(),
        }
        .into());
    }
    std::fs::create_dir_all(path).map_err(failed("making"))?;
    if in_memory && !is_mount_point(path) {
        mount_tmpfs(path, None).map_err(failed("mounting tmpfs at"))?;
    }
    let mut files = files.clone();
    if let Some(gid) = group {
        chown(path, None, Some(gid)).map_err(failed("giving a group to"))?;
        // The pod's group may read what it owns.
        files.values_mut().for_each(|f| f.mode |= 0o440);
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed("opening"))?;
    atomic::write(path, &files, group, stamp).map_err(failed("writing"))?;
    Ok(Mounted::Path {
        path: path.to_owned(),
        // Whatever a container wrote would be lost at the next refresh.
        read_only: true,
    })
}
