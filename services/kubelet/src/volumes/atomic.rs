//! Files of a volume that change all at once: a timestamped directory and one symbolic link that is swapped.
//!
//! The layout is upstream's, which programs watch for: `..data` points to `..<time>.<random>`, and each visible name is
//! a link through `..data`. A reader that opens `..data` sees one version whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

/// A file to project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, if not root.
    pub owner: Option<u32>,
}

/// Files by relative path.
pub type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Whether `path` stays below a volume: relative, no `..`, and no first part that begins with `..` (reserved).
pub fn valid_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 4096
        && !path.starts_with("..")
        && Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(n) if n.len() <= 255))
}

/// Writes `payload` into `dir`, which exists. Returns whether anything changed. `group` owns all files if given.
pub fn write(dir: &Path, payload: &Payload, group: Option<u32>, stamp: &str) -> io::Result<bool> {
    if let Some(bad) = payload.keys().find(|p| !valid_path(p)) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("invalid path {bad:?}"),
        ));
    }
    let data = dir.join(DATA);
    let old = std::fs::read_link(&data).ok();
    if let Some(old) = &old
        && same(&dir.join(old), payload)
    {
        return Ok(false);
    }
    let version = format!("..{stamp}.{:08x}", rand::random::<u32>());
    let target = dir.join(&version);
    std::fs::create_dir(&target)?;
    std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o755))?;
    fill(&target, payload, group)?;
    let temporary = dir.join(NEW_DATA);
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    symlink(&version, &temporary)?;
    std::fs::rename(&temporary, &data)?;
    let visible: BTreeSet<&str> = payload.keys().filter_map(|p| p.split('/').next()).collect();
    for name in &visible {
        let link = dir.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    // Names that are no more, then the version that was.
    for entry in std::fs::read_dir(dir)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !visible.contains(name.as_ref()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    if let Some(old) = old {
        std::fs::remove_dir_all(dir.join(old))?;
    }
    Ok(true)
}

fn fill(target: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    if group.is_some() {
        chown(target, None, group)?;
    }
    for (path, file) in payload {
        let full = target.join(path);
        if let Some(parent) = full.parent().filter(|p| *p != target) {
            std::fs::create_dir_all(parent)?;
            let mut at = PathBuf::from(target);
            for part in parent.strip_prefix(target).unwrap_or(Path::new("")).components() {
                at.push(part);
                std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755))?;
            }
        }
        std::fs::write(&full, &file.data)?;
        if file.owner.is_some() || group.is_some() {
            chown(&full, file.owner, group)?;
        }
        std::fs::set_permissions(&full, std::fs::Permissions::from_mode(file.mode & 0o7777))?;
    }
    Ok(())
}

/// Whether the version on disk holds exactly the payload.
fn same(dir: &Path, payload: &Payload) -> bool {
    fn count(dir: &Path) -> usize {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|e| {
                if e.file_type().is_ok_and(|t| t.is_dir()) {
                    count(&e.path())
                } else {
                    1
                }
            })
            .sum()
    }
    count(dir) == payload.len()
        && payload.iter().all(|(path, file)| {
            let full = dir.join(path);
            std::fs::read(&full).is_ok_and(|data| data == file.data)
                && std::fs::metadata(&full)
                    .is_ok_and(|m| m.permissions().mode() & 0o7777 == file.mode & 0o7777)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(p, d)| {
                (
                    (*p).to_owned(),
                    File {
                        data: d.as_bytes().to_vec(),
                        mode: 0o644,
                        owner: None,
                    },
                )
            })
            .collect()
    }

    #[test]
    fn a_new_version_replaces_the_old_one_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let read = |p: &str| std::fs::read_to_string(dir.path().join(p)).ok();
        assert!(write(dir.path(), &payload(&[("a", "1"), ("d/b", "2")]), None, "t1").unwrap());
        assert_eq!((read("a"), read("d/b")), (Some("1".into()), Some("2".into())));
        let first = std::fs::read_link(dir.path().join("..data")).unwrap();
        assert!(
            !write(dir.path(), &payload(&[("a", "1"), ("d/b", "2")]), None, "t2").unwrap(),
            "nothing changed"
        );
        assert!(write(dir.path(), &payload(&[("a", "9"), ("c", "3")]), None, "t3").unwrap());
        assert_eq!(
            (read("a"), read("d/b"), read("c")),
            (Some("9".into()), None, Some("3".into()))
        );
        assert!(!dir.path().join(first).exists());
        assert_eq!(
            std::fs::read_link(dir.path().join("a")).unwrap(),
            Path::new("..data/a")
        );
    }

    #[test]
    fn no_path_leaves_the_volume() {
        for bad in ["", "/etc/x", "../x", "a/../../x", "..data", "./a"] {
            assert!(!valid_path(bad), "{bad}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(write(dir.path(), &payload(&[("a/../../x", "1")]), None, "t").is_err());
        assert!(valid_path("a/b") && valid_path(".hidden"));
    }
}
