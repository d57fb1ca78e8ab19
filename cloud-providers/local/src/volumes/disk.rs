//! The files that hold volumes' and snapshots' content, and the host's loop devices on them.
//!
//! Which loop device a file has is asked of the kernel each time, not remembered: its numbers are given anew after each boot
//! of the host, and somebody may have taken one away.

use crate::command;
use crate::records::io_error;
use cloud_api::{CloudError, Result};
use nix::fcntl::OFlag;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long copying a disk may take.
const COPY_LIMIT: Duration = Duration::from_secs(600);

/// Whether so many bytes more fit onto the filesystem of this directory.
pub(super) fn check_room(dir: &Path, bytes: u64) -> Result<()> {
    let system = |e: nix::Error| io_error(format!("look at {}", dir.display()))(e.into());
    let room = nix::sys::statvfs::statvfs(dir).map_err(system)?;
    let free = room.blocks_available().saturating_mul(room.fragment_size());
    if bytes > free {
        return Err(CloudError::InsufficientCapacity(format!(
            "{bytes} bytes are asked for, {free} are free"
        )));
    }
    Ok(())
}

/// Makes a disk of this size, with the content of `source` if there is one. It appears whole or not at all.
pub(super) async fn make(disk: &Path, size: u64, source: Option<PathBuf>) -> Result<()> {
    let new = disk.with_extension("new");
    match source {
        Some(source) => copy(&source, &new, "auto").await?,
        None => drop(fs::File::create(&new).map_err(io_error("create a disk"))?),
    }
    set_length(&new, size)?;
    fs::rename(&new, disk).map_err(io_error("name a disk"))
}

/// Copies a disk that somebody may be writing to, in one moment; `NotReady` where the filesystem has no such copy.
pub(super) async fn copy_at_once(source: &Path, disk: &Path) -> Result<()> {
    let new = disk.with_extension("new");
    copy(source, &new, "always").await.map_err(|error| {
        CloudError::NotReady(format!(
            "a volume in use cannot be copied in one moment here; detach it first ({error})"
        ))
    })?;
    fs::rename(&new, disk).map_err(io_error("name a disk"))
}

async fn copy(source: &Path, new: &Path, reflink: &str) -> Result<()> {
    let reflink = format!("--reflink={reflink}");
    // Holes stay holes; only a clone in one moment cannot look for them.
    let sparse = if reflink.ends_with("always") {
        "auto"
    } else {
        "always"
    };
    let sparse = format!("--sparse={sparse}");
    let args = [
        OsStr::new(&reflink),
        OsStr::new(&sparse),
        source.as_ref(),
        new.as_ref(),
    ];
    command::run_within(COPY_LIMIT, "cp", &args, "").await.map(drop)
}

fn set_length(disk: &Path, size: u64) -> Result<()> {
    let set = || {
        let file = fs::OpenOptions::new().write(true).open(disk)?;
        file.set_len(size)?;
        file.sync_all()
    };
    set().map_err(io_error(format!("size {}", disk.display())))
}

/// Makes a disk larger, and tells its device.
pub(super) async fn grow(disk: &Path, size: u64) -> Result<()> {
    set_length(disk, size)?;
    match device(disk).await? {
        Some(device) => losetup(&["--set-capacity".as_ref(), device.as_ref()])
            .await
            .map(drop),
        None => Ok(()),
    }
}

/// Removes a directory of ours: its record first, so that a rest of it is known as one.
pub(super) async fn discard(dir: &Path, record: &str) -> Result<()> {
    let (dir, record) = (dir.to_owned(), dir.join(record));
    let remove = move || {
        fs::remove_file(record)?;
        fs::remove_dir_all(dir)
    };
    let removed = tokio::task::spawn_blocking(remove).await;
    removed
        .map_err(|e| CloudError::Other(e.to_string()))?
        .map_err(io_error("remove a disk"))
}

async fn losetup(args: &[&OsStr]) -> Result<String> {
    command::run("losetup", args, "").await
}

/// The loop device that a disk has.
async fn device(disk: &Path) -> Result<Option<PathBuf>> {
    let args = ["--noheadings", "--output", "NAME", "--associated"].map(OsStr::new);
    let printed = losetup(&[&args[..], &[disk.as_ref()]].concat()).await?;
    Ok(printed.lines().next().map(|name| PathBuf::from(name.trim())))
}

/// `NotReady` for a disk whose making was interrupted, until it is repeated.
pub(super) fn check_made(disk: &Path) -> Result<()> {
    if disk.exists() {
        return Ok(());
    }
    Err(CloudError::NotReady("the volume is still being made".into()))
}

/// Gives a disk a loop device, unless it has one; answers with its device number.
pub(super) async fn plug(disk: &Path) -> Result<u64> {
    check_made(disk)?;
    let args = ["--find", "--show", "--nooverlap"].map(OsStr::new);
    let printed = losetup(&[&args[..], &[disk.as_ref()]].concat()).await?;
    let device = Path::new(printed.trim());
    let metadata = fs::metadata(device).map_err(io_error(format!("look at {}", device.display())))?;
    if !metadata.file_type().is_block_device() {
        return Err(CloudError::Other(format!("losetup printed {printed:?}")));
    }
    Ok(metadata.rdev())
}

/// Takes the loop device away. `NotReady` if something still uses it.
pub(super) async fn unplug(disk: &Path) -> Result<()> {
    let Some(known) = device(disk).await? else {
        return Ok(());
    };
    losetup(&["--detach".as_ref(), known.as_ref()]).await?;
    // The kernel keeps a device that is open until its last user closes it.
    match device(disk).await? {
        None => Ok(()),
        Some(device) => Err(CloudError::NotReady(format!(
            "{} is still in use",
            device.display()
        ))),
    }
}

/// Whether a filesystem, or a program for itself alone, has the disk's device: open(2) on `O_EXCL` and block devices.
pub(super) async fn is_held(disk: &Path) -> Result<bool> {
    let Some(device) = device(disk).await? else {
        return Ok(false);
    };
    let mut options = fs::OpenOptions::new();
    match options
        .read(true)
        .custom_flags(OFlag::O_EXCL.bits())
        .open(&device)
    {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => Ok(true),
        Err(e) => Err(io_error(format!("open {}", device.display()))(e)),
    }
}
