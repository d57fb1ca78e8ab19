//! The machine's root filesystem: an overlay on the node image, and everything that is mounted on it.

use super::{Config, Context, Device, Files, MachineError, Metadata};
use crate::cgroups;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const NONE: Option<&str> = None;

/// Directories that containers' own overlays and mounts lie in, which must not be on an overlay themselves.
const ON_DISK: [&str; 2] = ["var/lib/containerd", "var/lib/kubelet"];

/// Builds the root and makes it the root of this process's mount namespace. Runs as process 1.
pub(super) fn enter(dir: &Path, config: &Config) -> Result<(), MachineError> {
    let files = Files(dir);
    let root = files.root();
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make mounts private")?;
    for d in [&root, &files.upper(), &files.work()] {
        fs::create_dir_all(d).context(format!("create {}", d.display()))?;
    }
    let layers: Vec<String> = config.layers.iter().map(|l| l.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        layers.join(":"),
        files.upper().display(),
        files.work().display()
    );
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .context("mount the overlay (its state directory must be on a real filesystem)")?;

    let nosuid = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let special = |at: &str, kind: &str, flags: MsFlags, options: &str| {
        let at = root.join(at);
        fs::create_dir_all(&at).context(format!("create {}", at.display()))?;
        mount(Some(kind), &at, Some(kind), flags, Some(options))
            .context(format!("mount {kind} on {}", at.display()))
    };
    special("proc", "proc", nosuid | MsFlags::MS_NOEXEC, "")?;
    special("sys", "sysfs", nosuid | MsFlags::MS_NOEXEC, "")?;
    special("sys/fs/cgroup", "tmpfs", nosuid | MsFlags::MS_NOEXEC, "mode=755")?;
    special(
        "dev",
        "tmpfs",
        MsFlags::MS_NOSUID,
        "mode=755,size=64k,nr_inodes=2048",
    )?;
    devices(&root.join("dev"))?;
    for volume in &config.volumes {
        make_device(&root.join("dev"), volume)?;
    }
    special(
        "dev/pts",
        "devpts",
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        "newinstance,ptmxmode=0666,mode=620,gid=5",
    )?;
    special("dev/shm", "tmpfs", nosuid, "mode=1777,size=64m")?;
    special("dev/mqueue", "mqueue", nosuid, "")?;
    special("run", "tmpfs", nosuid, "mode=755,size=256m")?;
    special("tmp", "tmpfs", nosuid, "mode=1777,size=256m")?;
    control_groups(&root, config)?;
    for path in ON_DISK {
        let (from, to) = (files.data().join(path), root.join(path));
        for d in [&from, &to] {
            fs::create_dir_all(d).context(format!("create {}", d.display()))?;
        }
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE).context(format!("bind {}", to.display()))?;
    }
    describe(&root, &files, config)?;

    // The old root is stacked on the new one and detached; a shared root would make pivot_root fail with EINVAL.
    std::env::set_current_dir(&root).context("enter the new root")?;
    nix::unistd::pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).context("detach the old root")?;
    std::env::set_current_dir("/").context("enter the new root")?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE).context("make mounts shared")
}

/// The character devices that programs expect, by their numbers in the kernel's devices.txt.
fn devices(dev: &Path) -> Result<(), MachineError> {
    for (name, major, minor) in [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("kmsg", 1, 11),
        ("tty", 5, 0),
        ("fuse", 10, 229),
        ("loop-control", 10, 237),
    ] {
        let path = dev.join(name);
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&path, SFlag::S_IFCHR, mode, makedev(major, minor)).context(format!("mknod {name}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).context(format!("chmod {name}"))?;
    }
    fs::create_dir(dev.join("net")).context("create /dev/net")?;
    let tun = dev.join("net/tun");
    mknod(
        &tun,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(0o666),
        makedev(10, 200),
    )
    .context("mknod tun")?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name)).context(format!("link {name}"))?;
    }
    Ok(())
}

/// Makes the node of a block device in this directory.
pub(crate) fn make_device(dev: &Path, device: &Device) -> Result<(), MachineError> {
    let mode = Mode::from_bits_truncate(0o660);
    let number = makedev(device.major, device.minor);
    mknod(&dev.join(&device.name), SFlag::S_IFBLK, mode, number).context(format!("mknod {}", device.name))
}

/// Shows the machine its own part of each hierarchy, at the place where the host has the whole. Beside hierarchies of version 1
/// that of version 2 is left out, whatever controllers the host has left to it: crun refuses to work with both.
fn control_groups(root: &Path, config: &Config) -> Result<(), MachineError> {
    let all = cgroups::hierarchies().context("read mountinfo")?;
    let legacy = all.iter().any(|h| !h.unified);
    for hierarchy in all.into_iter().filter(|h| !(legacy && h.unified)) {
        let from = hierarchy.mount.join(&config.cloud).join(&config.metadata.id);
        let to = root.join(hierarchy.mount.strip_prefix("/").unwrap_or(&hierarchy.mount));
        if !from.exists() {
            continue; // the machine's own new mounts of this function
        }
        fs::create_dir_all(&to).context(format!("create {}", to.display()))?;
        mount(Some(&from), &to, NONE, MsFlags::MS_BIND, NONE).context(format!("bind {}", to.display()))?;
        if hierarchy.unified {
            cgroups::pass_down(&to).context("pass controllers down")?;
        }
    }
    Ok(())
}

/// Where a machine reads what the cloud says of it.
const METADATA: &str = "run/marina/metadata.json";

/// The id of the machine whose root this is; `None` if it is no machine's, or not built yet.
pub(crate) fn metadata_id(root: &Path) -> Option<String> {
    let document = fs::read(root.join(METADATA)).ok()?;
    serde_json::from_slice(&document).ok().map(|m: Metadata| m.id)
}

/// Writes what the machine knows of itself.
fn describe(root: &Path, files: &Files<'_>, config: &Config) -> Result<(), MachineError> {
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).context(format!("create {}", parent.display()))?;
        }
        if path.is_symlink() {
            fs::remove_file(&path).context(format!("replace {}", path.display()))?;
        }
        fs::write(&path, bytes).context(format!("write {}", path.display()))
    };
    let meta = &config.metadata;
    let document = serde_json::to_vec_pretty(meta).map_err(|e| MachineError::Other(e.to_string()))?;
    put(METADATA, &document)?;
    fs::set_permissions(root.join(METADATA), fs::Permissions::from_mode(0o600))
        .context("chmod metadata.json")?;
    let user_data = fs::read(files.user_data()).unwrap_or_default();
    put("run/marina/user-data", &user_data)?;
    fs::set_permissions(
        root.join("run/marina/user-data"),
        fs::Permissions::from_mode(0o700),
    )
    .context("chmod user-data")?;
    put("etc/hostname", format!("{}\n", meta.name).as_bytes())?;
    put(
        "etc/hosts",
        format!(
            "127.0.0.1 localhost\n::1 localhost\n{} {}\n",
            meta.address, meta.name
        )
        .as_bytes(),
    )?;
    put(
        "etc/resolv.conf",
        format!("nameserver {}\n", meta.gateway).as_bytes(),
    )?;
    let hex: String = meta
        .id
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .map(char::from)
        .collect();
    put("etc/machine-id", format!("{hex:0<32.32}\n").as_bytes())?;
    fs::create_dir_all(root.join("run/marina/certs.d")).context("create certs.d")?;
    if let Some(registry) = &meta.registry {
        let hosts = format!("[host.\"{registry}\"]\n  capabilities = [\"pull\", \"resolve\"]\n");
        put("run/marina/certs.d/_default/hosts.toml", hosts.as_bytes())?;
    }
    Ok(())
}
