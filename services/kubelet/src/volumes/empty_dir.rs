//! `emptyDir`: a directory on disk or in memory that lives as long as the pod.

use super::subpath::{is_mount_point, mount_tmpfs};
use super::{Mounted, VolumeError};
use crate::k8s::EmptyDirVolumeSource;
use crate::quantity::units;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

/// Makes the directory, writable by all; with a group of the pod's it belongs to it and so does what is made in it.
pub(super) fn make(
    path: &Path,
    source: &EmptyDirVolumeSource,
    group: Option<u32>,
) -> Result<Mounted, VolumeError> {
    let failed = |what: &str| VolumeError::io(format!("{what} {}", path.display()));
    std::fs::create_dir_all(path).map_err(failed("making"))?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" if is_mount_point(path) => {}
        "Memory" => {
            let size = source.size_limit.as_ref().and_then(units).filter(|s| *s > 0);
            mount_tmpfs(path, size).map_err(failed("mounting tmpfs at"))?;
        }
        other => return Err(VolumeError::Unsupported(format!("emptyDir with medium {other}"))),
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    if group.is_some() {
        chown(path, None, group).map_err(failed("giving a group to"))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed("opening"))?;
    Ok(Mounted::Path {
        path: path.to_owned(),
        read_only: false,
    })
}
