//! The hierarchy of control groups: `kubepods`, one group for each lower class, one for each pod.
//!
//! Driver "cgroupfs": directories are made by hand and containers are put below them by the runtime. Version 1 (one
//! hierarchy for each controller) and version 2 (one for all) are told apart by what is mounted. Which values to
//! write is pure ([`writes`]); a controller that the machine lacks is left out, since a smaller machine still runs pods.

use crate::k8s::{Pod, uid};
use crate::resources::{CPU_PERIOD, LinuxResources, Qos, pod_resources, qos};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The path of a pod's group below the mount point, beginning with `/`.
pub fn pod_path(pod: &Pod) -> String {
    let id = uid(&pod.metadata);
    match pod.spec.as_ref().map_or(Qos::BestEffort, qos) {
        Qos::Guaranteed => format!("/kubepods/pod{id}"),
        Qos::Burstable => format!("/kubepods/burstable/pod{id}"),
        Qos::BestEffort => format!("/kubepods/besteffort/pod{id}"),
    }
}

/// The controllers used.
const CONTROLLERS: [&str; 9] = [
    "cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "devices", "freezer", "hugetlb",
];
/// Those that version 2 delegates to children.
const DELEGATED: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

/// The hierarchy of this machine.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: PathBuf,
    version: Version,
}

/// Which interface the kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A directory for each controller.
    V1,
    /// One unified hierarchy.
    V2,
}

/// The file, below a controller's directory (version 1) or the group (version 2), and what to write.
pub type Write = (&'static str, &'static str, String);

/// What to write for `r`: (controller, file, text).
pub fn writes(version: Version, r: &LinuxResources) -> Vec<Write> {
    let mut out = Vec::new();
    match version {
        Version::V1 => {
            if r.cpu_shares > 0 {
                out.push(("cpu", "cpu.shares", r.cpu_shares.to_string()));
            }
            if r.cpu_quota != 0 {
                out.push(("cpu", "cpu.cfs_period_us", CPU_PERIOD.to_string()));
                out.push(("cpu", "cpu.cfs_quota_us", r.cpu_quota.to_string()));
            }
            if r.memory_limit > 0 {
                out.push(("memory", "memory.limit_in_bytes", r.memory_limit.to_string()));
            }
        }
        Version::V2 => {
            if r.cpu_shares > 0 {
                // The kernel documentation's range of weights is 1 to 10000, of shares 2 to 262144.
                let weight = 1 + ((r.cpu_shares.clamp(2, 262_144) - 2) * 9999) / 262_142;
                out.push(("cpu", "cpu.weight", weight.to_string()));
            }
            if r.cpu_quota != 0 {
                let quota = if r.cpu_quota < 0 {
                    "max".to_owned()
                } else {
                    r.cpu_quota.to_string()
                };
                out.push(("cpu", "cpu.max", format!("{quota} {CPU_PERIOD}")));
            }
            if r.memory_limit > 0 {
                out.push(("memory", "memory.max", r.memory_limit.to_string()));
            }
        }
    }
    out
}

impl Cgroups {
    /// Looks at what is mounted at `root` (normally `/sys/fs/cgroup`).
    pub fn detect(root: &Path) -> Self {
        let version = if root.join("cgroup.controllers").exists() {
            Version::V2
        } else {
            Version::V1
        };
        Self {
            root: root.to_owned(),
            version,
        }
    }

    /// Which interface this is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The directory of a group of one controller.
    pub fn dir(&self, controller: &str, path: &str) -> PathBuf {
        let relative = path.trim_start_matches('/');
        match self.version {
            Version::V1 => self.root.join(controller).join(relative),
            Version::V2 => self.root.join(relative),
        }
    }

    /// Makes the groups of the classes. `allocatable` bounds all pods together.
    pub fn ensure_roots(&self, allocatable: &LinuxResources) -> io::Result<()> {
        self.ensure("/kubepods", allocatable)?;
        self.ensure(
            "/kubepods/burstable",
            &LinuxResources {
                cpu_shares: 2,
                ..Default::default()
            },
        )?;
        self.ensure(
            "/kubepods/besteffort",
            &LinuxResources {
                cpu_shares: 2,
                ..Default::default()
            },
        )
    }

    /// Makes a pod's group with its limits.
    pub fn ensure_pod(&self, pod: &Pod) -> io::Result<()> {
        self.ensure(
            &pod_path(pod),
            &pod.spec.as_ref().map(pod_resources).unwrap_or_default(),
        )
    }

    /// Sets the weight of the burstable class: the sum of its pods' requests.
    pub fn set_burstable_shares(&self, shares: i64) -> io::Result<()> {
        self.write(
            "/kubepods/burstable",
            &LinuxResources {
                cpu_shares: shares.clamp(2, 262_144),
                ..Default::default()
            },
        )
    }

    fn ensure(&self, path: &str, r: &LinuxResources) -> io::Result<()> {
        match self.version {
            Version::V1 => {
                for controller in CONTROLLERS {
                    if !self.root.join(controller).is_dir() {
                        continue;
                    }
                    let dir = self.dir(controller, path);
                    std::fs::create_dir_all(&dir)?;
                    if controller == "cpuset" {
                        self.inherit_cpuset(path)?;
                    }
                }
            }
            Version::V2 => {
                let mut at = self.root.clone();
                for part in Path::new(path.trim_start_matches('/')).components() {
                    delegate(&at);
                    at = at.join(part);
                    std::fs::create_dir_all(&at)?;
                }
                delegate(&at);
            }
        }
        self.write(path, r)
    }

    /// Version 1: a new cpuset is empty, and nothing can run in an empty one.
    fn inherit_cpuset(&self, path: &str) -> io::Result<()> {
        let mut at = self.root.join("cpuset");
        for part in Path::new(path.trim_start_matches('/')).components() {
            let child = at.join(part);
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if std::fs::read_to_string(child.join(file)).is_ok_and(|t| t.trim().is_empty()) {
                    let parent = std::fs::read_to_string(at.join(file))?;
                    std::fs::write(child.join(file), parent.trim())?;
                }
            }
            at = child;
        }
        Ok(())
    }

    fn write(&self, path: &str, r: &LinuxResources) -> io::Result<()> {
        for (controller, file, text) in writes(self.version, r) {
            let target = self.dir(controller, path).join(file);
            // Not to be created: that a control group has no such file is "not found" only to those who want none made.
            let written = std::fs::OpenOptions::new()
                .write(true)
                .open(&target)
                .and_then(|mut file| file.write_all(text.as_bytes()));
            match written {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(io::Error::new(
                        e.kind(),
                        format!("{}={text}: {e}", target.display()),
                    ));
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Removes a pod's group and what is left below it. Groups that still have processes stay; the caller asks again.
    pub fn remove_pod(&self, pod: &Pod) {
        let path = pod_path(pod);
        match self.version {
            Version::V1 => {
                for controller in CONTROLLERS {
                    remove_tree(&self.dir(controller, &path));
                }
                remove_tree(&self.dir("systemd", &path));
            }
            Version::V2 => remove_tree(&self.dir("", &path)),
        }
    }
}

fn delegate(dir: &Path) {
    let Ok(available) = std::fs::read_to_string(dir.join("cgroup.controllers")) else {
        return;
    };
    for controller in DELEGATED {
        if available.split_whitespace().any(|c| c == controller) {
            // One refused controller (the root group's processes hold it) must not cost the others.
            if let Err(e) = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")) {
                tracing::debug!(controller, dir = %dir.display(), "not delegated: {e}");
            }
        }
    }
}

fn remove_tree(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
    {
        remove_tree(&entry.path());
    }
    if let Err(e) = std::fs::remove_dir(dir) {
        tracing::debug!(dir = %dir.display(), "control group stays: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_limits_are_written_in_both_interfaces() {
        let r = LinuxResources {
            cpu_shares: 1024,
            cpu_quota: 50_000,
            memory_limit: 1 << 20,
        };
        assert_eq!(
            writes(Version::V1, &r),
            [
                ("cpu", "cpu.shares", "1024".to_owned()),
                ("cpu", "cpu.cfs_period_us", "100000".to_owned()),
                ("cpu", "cpu.cfs_quota_us", "50000".to_owned()),
                ("memory", "memory.limit_in_bytes", "1048576".to_owned()),
            ]
        );
        assert_eq!(
            writes(Version::V2, &r),
            [
                ("cpu", "cpu.weight", "39".to_owned()),
                ("cpu", "cpu.max", "50000 100000".to_owned()),
                ("memory", "memory.max", "1048576".to_owned()),
            ]
        );
        let unlimited = LinuxResources {
            cpu_shares: 2,
            cpu_quota: -1,
            memory_limit: 0,
        };
        assert_eq!(writes(Version::V2, &unlimited)[1].2, "max 100000");
    }

    #[test]
    fn version_one_groups_get_their_parents_cpus() {
        let dir = std::env::temp_dir().join(format!("marina-cgroups-{}", uuid()));
        std::fs::create_dir_all(dir.join("cpuset/kubepods")).unwrap();
        std::fs::create_dir_all(dir.join("memory")).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            std::fs::write(dir.join("cpuset").join(file), "0-1\n").unwrap();
            std::fs::write(dir.join("cpuset/kubepods").join(file), "\n").unwrap();
        }
        std::fs::create_dir(dir.join("memory/kubepods")).unwrap();
        std::fs::write(dir.join("memory/kubepods/memory.limit_in_bytes"), "").unwrap();
        let groups = Cgroups::detect(&dir);
        assert_eq!(groups.version(), Version::V1);
        groups
            .ensure(
                "/kubepods",
                &LinuxResources {
                    memory_limit: 7,
                    ..Default::default()
                },
            )
            .unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.join("cpuset/kubepods/cpuset.cpus")).unwrap(),
            "0-1"
        );
        assert_eq!(
            std::fs::read_to_string(dir.join("memory/kubepods/memory.limit_in_bytes")).unwrap(),
            "7"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// The kernel refuses to make files in a control group, with "permission denied"; a directory would take them.
    #[test]
    fn limits_of_a_controller_that_the_machine_lacks_are_left_out() {
        let dir = std::env::temp_dir().join(format!("marina-cgroups-{}", uuid()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cgroup.controllers"), "").unwrap();
        let groups = Cgroups::detect(&dir);
        groups.ensure_roots(&LinuxResources::default()).unwrap();
        assert!(dir.join("kubepods/burstable").is_dir());
        assert!(!dir.join("kubepods/burstable/cpu.weight").exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    fn uuid() -> String {
        format!("{:x}", rand::random::<u64>())
    }
}
