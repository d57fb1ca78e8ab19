//! `hostPath`: a path of the node, checked or made as its type says.

use super::{Mounted, VolumeError};
use crate::k8s::HostPathVolumeSource;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Checks the path against its type; makes it where the type allows it.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<Mounted, VolumeError> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    if !path.is_absolute() || path.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(VolumeError::HostPath {
            path: source.path.clone(),
            kind: "path without '..'".to_owned(),
        });
    }
    let failed = |e| VolumeError::io(format!("making {}", path.display()))(e);
    let exists = path.exists();
    match kind {
        "DirectoryOrCreate" if !exists => {
            std::fs::create_dir_all(path).map_err(failed)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
        "FileOrCreate" if !exists => {
            std::fs::write(path, b"").map_err(failed)?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
        }
        // An unset type promises nothing; runtimes want the path to exist.
        "" if !exists => std::fs::create_dir_all(path).map_err(failed)?,
        _ => {}
    }
    let meta = std::fs::metadata(path);
    let is = |test: fn(&std::fs::FileType) -> bool| meta.as_ref().is_ok_and(|m| test(&m.file_type()));
    let ok = match kind {
        "" => true,
        "Directory" | "DirectoryOrCreate" => is(std::fs::FileType::is_dir),
        "File" | "FileOrCreate" => is(std::fs::FileType::is_file),
        "Socket" => is(|t| t.is_socket()),
        "CharDevice" => is(|t| t.is_char_device()),
        "BlockDevice" => is(|t| t.is_block_device()),
        _ => false,
    };
    if ok {
        Ok(Mounted::Path {
            path: path.to_owned(),
            read_only: false,
        })
    } else {
        Err(VolumeError::HostPath {
            path: source.path.clone(),
            kind: kind.to_ascii_lowercase(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_path_is_what_its_type_says_or_is_made_so() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str, kind: &str| {
            let path = dir.path().join(name).to_string_lossy().into_owned();
            check(&HostPathVolumeSource {
                path,
                type_: Some(kind.to_owned()),
            })
        };
        assert!(at("a", "Directory").is_err());
        assert!(at("a", "DirectoryOrCreate").is_ok() && at("a", "Directory").is_ok());
        assert!(at("a", "File").is_err());
        assert!(at("f", "FileOrCreate").is_ok() && at("f", "File").is_ok());
        assert!(at("f", "Socket").is_err() && at("f", "Nonsense").is_err());
        assert!(at("../x", "").is_err());
    }
}
