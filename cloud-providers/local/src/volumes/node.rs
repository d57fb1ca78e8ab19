//! Device nodes in machines that run. Those that a machine has from its start are made by its own init.

use crate::machine::{Device, make_device, metadata_id};
use crate::records::io_error;
use cloud_api::{CloudError, Result};
use nix::sys::stat::{major, minor};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// How long a machine that has just been started may take to have a root of its own.
const BOOT_PATIENCE: Duration = Duration::from_secs(10);

/// Where a machine sees a volume.
pub(super) fn path(volume: &str) -> String {
    format!("/dev/{volume}")
}

pub(super) fn device(volume: &str, number: u64) -> Device {
    Device {
        name: volume.to_owned(),
        major: major(number),
        minor: minor(number),
    }
}

/// The machine's `/dev`, seen from the host. Until its init has changed roots, the same path leads to the host's own, so it is
/// believed only if the root says whose it is.
async fn dev(pid: i32, instance: &str) -> Result<PathBuf> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let deadline = tokio::time::Instant::now() + BOOT_PATIENCE;
    while metadata_id(&root).as_deref() != Some(instance) {
        if tokio::time::Instant::now() > deadline {
            return Err(CloudError::NotReady(format!(
                "instance {instance} is still starting"
            )));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(root.join("dev"))
}

/// Shows a machine a device, instead of what it had under that name.
pub(super) async fn add(pid: i32, instance: &str, device: &Device) -> Result<()> {
    remove(pid, instance, &device.name).await?;
    make_device(&dev(pid, instance).await?, device)
        .map_err(|e| CloudError::Other(format!("instance {instance}: {e}")))
}

/// Takes a device out of a machine's sight.
pub(super) async fn remove(pid: i32, instance: &str, name: &str) -> Result<()> {
    match fs::remove_file(dev(pid, instance).await?.join(name)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove a device")(e)),
        _ => Ok(()),
    }
}
