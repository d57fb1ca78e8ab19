//! Mounts that the kubelet makes itself: tmpfs for volumes in memory, and bind mounts for sub-paths.
//!
//! A sub-path is resolved below its volume by the kernel (`openat2` with `RESOLVE_BENEATH`), so a symbolic link that a
//! container planted cannot lead out; what was resolved is bound by its descriptor, so it cannot be swapped later.

use super::VolumeError;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, mkdirat};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Whether something is mounted at `path`: it lies on another device than its parent.
pub fn is_mount_point(path: &Path) -> bool {
    let (Ok(own), Some(Ok(parent))) = (std::fs::metadata(path), path.parent().map(std::fs::metadata)) else {
        return false;
    };
    own.dev() != parent.dev()
}

/// Mounts a file system in memory, of at most `size` bytes.
pub fn mount_tmpfs(path: &Path, size: Option<i64>) -> io::Result<()> {
    let options = size.map(|s| format!("size={s}"));
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        MsFlags::empty(),
        options.as_deref(),
    )
    .map_err(io::Error::from)
}

/// Unmounts everything below `dir`, deepest first; what is busy is detached.
pub fn unmount_below(dir: &Path) {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return;
    };
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|p| p.starts_with(dir) && p != dir)
        .collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    for point in points {
        if let Err(e) = umount2(&point, MntFlags::MNT_DETACH) {
            tracing::warn!(path = %point.display(), "cannot unmount: {e}");
        }
    }
}

/// The kernel writes space, tab, newline and backslash in octal.
fn unescape(text: &str) -> PathBuf {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|c| u8::from_str_radix(c, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    PathBuf::from(out)
}

/// Binds `volume/sub` at `target`; makes a missing directory. Returns `target`, also if it is bound already.
pub fn bind(volume: &Path, sub: &str, target: &Path) -> Result<PathBuf, VolumeError> {
    if Path::new(sub)
        .components()
        .any(|c| !matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return Err(VolumeError::SubPath(format!(
            "subPath {sub:?} must be relative and must not contain '..'"
        )));
    }
    let escaped = |e: Errno| {
        VolumeError::SubPath(format!(
            "subPath {sub:?} cannot be resolved inside its volume: {e}"
        ))
    };
    let root = nix::fcntl::open(
        volume,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| VolumeError::io(format!("opening {}", volume.display()))(e.into()))?;
    let source = match beneath(&root, Path::new(sub)) {
        Err(Errno::ENOENT) => {
            make_dirs(&root, Path::new(sub)).map_err(escaped)?;
            beneath(&root, Path::new(sub)).map_err(escaped)?
        }
        other => other.map_err(escaped)?,
    };
    let through = format!("/proc/self/fd/{}", source.as_raw_fd());
    let meta = std::fs::metadata(&through).map_err(VolumeError::io(format!("looking at {sub}")))?;
    if is_bound(target) {
        return Ok(target.to_owned());
    }
    let failed = |what: &str| VolumeError::io(format!("{what} {}", target.display()));
    if meta.is_dir() {
        std::fs::create_dir_all(target).map_err(failed("making"))?;
    } else {
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed("making the parent of"))?;
        }
        std::fs::write(target, b"").map_err(failed("making"))?;
    }
    mount(
        Some(through.as_str()),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(|e| failed("binding at")(e.into()))?;
    Ok(target.to_owned())
}

fn is_bound(target: &Path) -> bool {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|p| unescape(p) == target)
}

fn beneath(root: &OwnedFd, sub: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, sub, how)
}

/// Makes the directories of `sub` one by one, each below what was resolved before.
fn make_dirs(root: &OwnedFd, sub: &Path) -> Result<(), Errno> {
    let mut so_far = PathBuf::new();
    for part in sub.components() {
        let Component::Normal(name) = part else { continue };
        let parent = if so_far.as_os_str().is_empty() {
            beneath(root, Path::new("."))?
        } else {
            beneath(root, &so_far)?
        };
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o750)) {
            Ok(()) => {
                // Like its volume, whatever the umask: containers run as any user.
                let inherit = nix::sys::stat::fstat(&parent)
                    .map(|s| s.st_mode & 0o7777)
                    .unwrap_or(0o755);
                let mode = Mode::from_bits_truncate(inherit);
                nix::sys::stat::fchmodat(&parent, name, mode, nix::sys::stat::FchmodatFlags::FollowSymlink)?;
            }
            Err(Errno::EEXIST) => {}
            Err(e) => return Err(e),
        }
        so_far.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sub_path_never_leaves_its_volume() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        std::fs::create_dir_all(volume.join("in")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("out")).unwrap();
        std::os::unix::fs::symlink("in", volume.join("inside")).unwrap();
        let root = nix::fcntl::open(&volume, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        assert!(beneath(&root, Path::new("inside")).is_ok());
        assert_eq!(beneath(&root, Path::new("out/passwd")).unwrap_err(), Errno::EXDEV);
        assert!(bind(&volume, "../x", &dir.path().join("t")).is_err());
        assert!(bind(&volume, "/x", &dir.path().join("t")).is_err());
        make_dirs(&root, Path::new("a/b/c")).unwrap();
        assert!(volume.join("a/b/c").is_dir());
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescape(r"/a\040b\134"), PathBuf::from(r"/a b\"));
    }
}
