//! The launcher: enters the machine's cgroups, makes the namespaces, starts init in them, prints its process id and ends.
//!
//! Init is thus nobody's child but the host's init's, and lives on when `marinad` ends. A session of its own keeps a
//! terminal's signals away.

use super::{Context, Files, MachineError, read_config};
use crate::cgroups;
use nix::sched::{CloneFlags, unshare};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) fn launch(dir: &Path) -> Result<(), MachineError> {
    let config = read_config(dir)?;
    let console = OpenOptions::new()
        .create(true)
        .append(true)
        .open(Files(dir).console())
        .context("open the console")?;
    let errors = console.try_clone().context("open the console")?;
    // By the kernel's link and not by its name, which an upgrade may have given to another file.
    let program = Path::new("/proc/self/exe");
    let mut own: Vec<_> = std::env::args_os().skip(1).collect();
    own.truncate(own.len().saturating_sub(2));

    nix::unistd::setsid().context("setsid")?;
    let limits = cgroups::Limits {
        milli_cpu: config.metadata.milli_cpu,
        memory: config.metadata.memory,
    };
    let hierarchies = cgroups::hierarchies().context("read mountinfo")?;
    cgroups::enter(&hierarchies, &config.cloud, &config.metadata.id, limits).context("enter cgroups")?;
    unshare(
        CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .context("make namespaces")?;

    let child = Command::new(program)
        .args(own)
        .arg("init")
        .arg(dir)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .stdout(console)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .context("start init")?;
    println!("{}", child.id());
    Ok(())
}
