//! A container's mounts: its volumes, `/etc/hosts` and the termination message file.

use super::{Mounted, PodVolumes, VolumeError, subpath};
use crate::config::container::bind;
use crate::expand::{expand, undefined};
use crate::k8s::{Container, Pod, uid};
use crate::names::Paths;
use cri::v1::{ImageSpec, Mount, MountPropagation};
use std::os::unix::fs::PermissionsExt;

/// All mounts of a container. `env` is its environment, for `subPathExpr`; `images` finds what the runtime calls the
/// images of image volumes.
pub fn container_mounts(
    pod: &Pod,
    container: &Container,
    volumes: &PodVolumes,
    env: &[(String, String)],
    images: &dyn Fn(&str) -> Option<ImageSpec>,
    attempt: u32,
    paths: &Paths,
) -> Result<Vec<Mount>, VolumeError> {
    let id = uid(&pod.metadata);
    let mut out = Vec::new();
    let lookup = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
    for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
        let missing = || VolumeError::Unsupported(wanted.name.clone());
        let container_path = if wanted.mount_path.starts_with('/') {
            wanted.mount_path.clone()
        } else {
            format!("/{}", wanted.mount_path)
        };
        let sub = match wanted.sub_path_expr.as_deref().filter(|s| !s.is_empty()) {
            Some(expression) => {
                let unknown = undefined(expression, lookup);
                if !unknown.is_empty() {
                    return Err(VolumeError::SubPath(format!(
                        "missing value for {:?}",
                        unknown.join(", ")
                    )));
                }
                expand(expression, lookup)
            }
            None => wanted.sub_path.clone().unwrap_or_default(),
        };
        let propagation = match wanted.mount_propagation.as_deref() {
            Some("Bidirectional") => MountPropagation::PropagationBidirectional,
            Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
            _ => MountPropagation::PropagationPrivate,
        };
        let readonly = wanted.read_only.unwrap_or(false);
        let recursive = readonly && wanted.recursive_read_only.as_deref() == Some("Enabled");
        match volumes.get(&wanted.name).ok_or_else(missing)? {
            Mounted::Image { reference, .. } => out.push(Mount {
                container_path,
                readonly: true,
                image: Some(images(reference).ok_or_else(missing)?),
                image_sub_path: sub,
                ..Default::default()
            }),
            Mounted::Path { path, read_only } => {
                let host = if sub.is_empty() {
                    path.clone()
                } else {
                    subpath::bind(
                        path,
                        &sub,
                        &paths.subpath(id, &wanted.name, &container.name, index),
                    )?
                };
                out.push(Mount {
                    propagation: propagation as i32,
                    recursive_read_only: recursive,
                    ..bind(&host, &container_path, readonly || *read_only)
                });
            }
        }
    }
    let taken = |path: &str| {
        container
            .volume_mounts
            .iter()
            .flatten()
            .any(|m| m.mount_path == path)
    };
    let hosts = paths.etc_hosts(id);
    if !taken("/etc/hosts") && hosts.exists() {
        out.push(bind(&hosts, "/etc/hosts", false));
    }
    if let Some(message_path) = container
        .termination_message_path
        .as_deref()
        .filter(|p| !p.is_empty() && !taken(p))
    {
        let file = paths.termination_log(id, &container.name, attempt);
        let failed = |e| VolumeError::io(format!("making {}", file.display()))(e);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        std::fs::write(&file, b"").map_err(failed)?;
        // Written by whoever the container runs as.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
        out.push(bind(&file, message_path, false));
    }
    Ok(out)
}
