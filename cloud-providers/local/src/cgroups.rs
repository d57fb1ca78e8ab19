//! A machine's control groups, on cgroup v1, v2 and both at once.
//!
//! Each hierarchy that the host has mounted gets `<cloud>/<machine>`. On v1 a new directory has no CPUs and no memory nodes
//! until they are copied from above; on v2 controllers must be passed down from above, which the kernel refuses while
//! processes sit in the group itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Whether it is version 2.
    pub(crate) unified: bool,
}

/// The hierarchies that are mounted, by proc_pid_mountinfo(5).
pub(crate) fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read_to_string("/proc/self/mountinfo")?))
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(mount), Some(kind)) = (left.split(' ').nth(4), right.split(' ').next()) else {
            continue;
        };
        let unified = match kind {
            "cgroup" => false,
            "cgroup2" => true,
            _ => continue,
        };
        let mount = PathBuf::from(mount);
        if mount.starts_with("/sys/fs/cgroup") && found.iter().all(|h| h.mount != mount) {
            found.push(Hierarchy { mount, unified });
        }
    }
    found
}

/// What a machine may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Thousandths of a core.
    pub(crate) milli_cpu: u64,
    /// Bytes.
    pub(crate) memory: u64,
}

/// Creates `<cloud>/<id>` in every hierarchy with the limits, and moves the calling process into it.
pub(crate) fn enter(hierarchies: &[Hierarchy], cloud: &str, id: &str, limits: Limits) -> io::Result<()> {
    for hierarchy in hierarchies {
        let parent = hierarchy.mount.join(cloud);
        let group = parent.join(id);
        fs::create_dir_all(&group)?;
        if hierarchy.unified {
            pass_down(&hierarchy.mount)?;
            pass_down(&parent)?;
            set(&group, "cpu.max", &format!("{} 100000", limits.milli_cpu * 100))?;
            set(&group, "memory.max", &limits.memory.to_string())?;
        } else {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                copy_from_above(&hierarchy.mount, &parent, file)?;
                copy_from_above(&parent, &group, file)?;
            }
            set(&group, "cpu.cfs_quota_us", &(limits.milli_cpu * 100).to_string())?;
            set(&group, "memory.limit_in_bytes", &limits.memory.to_string())?;
        }
        fs::write(group.join("cgroup.procs"), std::process::id().to_string())?;
    }
    Ok(())
}

/// How long a process may sit in a group before it must be out of it: the launcher of a machine, which init can neither see nor
/// move, ends by itself when it gets the CPU.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives all of a v2 group's controllers to its children. Processes in the group (the root of a container is no true root)
/// are moved into a leaf first, for the kernel refuses otherwise.
pub(crate) fn pass_down(group: &Path) -> io::Result<()> {
    let all = fs::read_to_string(group.join("cgroup.controllers"))?;
    let wanted: String = all.split_whitespace().map(|c| format!("+{c} ")).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let control = group.join("cgroup.subtree_control");
    if fs::write(&control, &wanted).is_ok() {
        return Ok(());
    }
    let leaf = group.join("init");
    fs::create_dir_all(&leaf)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        for pid in fs::read_to_string(group.join("cgroup.procs"))?.split_whitespace() {
            // A process that has ended meanwhile, or a kernel thread, cannot be moved and does not matter.
            let _gone = fs::write(leaf.join("cgroup.procs"), pid);
        }
        if fs::write(&control, &wanted).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::write(&control, &wanted)
}

fn set(group: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = group.join(file);
    if path.exists() {
        fs::write(path, value)
    } else {
        Ok(())
    }
}

fn copy_from_above(above: &Path, group: &Path, file: &str) -> io::Result<()> {
    match fs::read_to_string(above.join(file)) {
        Ok(value) if fs::read_to_string(group.join(file))?.trim().is_empty() => {
            set(group, file, value.trim())
        }
        _ => Ok(()),
    }
}

/// Removes `<cloud>/<id>` everywhere, and `<cloud>` where it was the last. Says whether nothing is left: processes that are
/// being killed hold their group a little longer.
pub(crate) fn remove(hierarchies: &[Hierarchy], cloud: &str, id: &str) -> bool {
    let mut gone = true;
    for hierarchy in hierarchies {
        let parent = hierarchy.mount.join(cloud);
        let group = parent.join(id);
        remove_tree(&group);
        gone &= !group.exists();
        // Refused by the kernel while it has other children.
        let _still_used = fs::remove_dir(&parent);
    }
    gone
}

/// Control groups are removed from the leaves up; their files go with them.
fn remove_tree(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _busy = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_once_each() {
        let found = parse(
            "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
             32 30 0:28 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n\
             33 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
             40 30 0:27 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,cpu\n",
        );
        let expect = [("/sys/fs/cgroup/cpu", false), ("/sys/fs/cgroup/unified", true)];
        assert_eq!(
            found,
            expect.map(|(m, unified)| Hierarchy {
                mount: m.into(),
                unified
            })
        );
    }
}
