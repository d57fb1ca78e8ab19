//! What an installation has on the host, by its name and its directory.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Things that are there, one line each; empty when all is clean.
pub type Leftovers = BTreeSet<String>;

/// What the host has of things that bear no installation's name.
pub(crate) struct Host {
    tables: BTreeSet<String>,
    devices: BTreeSet<String>,
}

impl Host {
    pub(crate) fn look() -> Self {
        let listed = Command::new("nft").args(["list", "tables"]).output();
        let text = listed
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default();
        Self {
            tables: text.lines().map(str::to_owned).collect(),
            devices: entries("/sys/class/net"),
        }
    }
}

fn entries(dir: impl AsRef<Path>) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect()
}

pub(crate) fn leftovers(name: &str, dir: &Path, before: &Host) -> Leftovers {
    let mut found = Leftovers::new();
    let namespace = Path::new("/run/netns").join(name);
    if namespace.exists() {
        found.insert(format!("network namespace {name}"));
    }
    for hierarchy in std::iter::once(String::new()).chain(entries("/sys/fs/cgroup")) {
        let group = Path::new("/sys/fs/cgroup").join(hierarchy).join(name);
        if group.exists() {
            found.insert(format!("control group {}", group.display()));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = dir.to_string_lossy();
    found.extend(
        mounts
            .lines()
            .filter(|l| l.contains(&*dir))
            .map(|l| format!("mount {l}")),
    );
    for pid in entries("/proc")
        .into_iter()
        .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))
    {
        let of = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // One that has ended and that the host's process 1 has not looked at yet holds nothing.
        let ended = of("status")
            .lines()
            .any(|l| l.starts_with("State:") && l.contains('Z'));
        if !ended && of("cgroup").contains(&format!("/{name}/")) {
            found.insert(format!("process {pid} {}", of("comm").trim()));
        }
    }
    let now = Host::look();
    // Other installations come and go meanwhile; devices of theirs are not ours to judge.
    let ours = |d: &&String| d.starts_with(name) || d.starts_with("veth") || d.starts_with("mv");
    found.extend(
        now.devices
            .difference(&before.devices)
            .filter(ours)
            .map(|d| format!("device {d}")),
    );
    found.extend(
        now.tables
            .difference(&before.tables)
            .map(|t| format!("nftables {t}")),
    );
    found
}
