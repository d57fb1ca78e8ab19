//! What the machine is: read once from the kernel, apart from disk space.

use crate::k8s::{NodeSystemInfo, Quantity, ResourceList};
use crate::options::Options;
use std::path::Path;

/// The machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// What it has.
    pub capacity: ResourceList,
    /// What pods may use of it.
    pub allocatable: ResourceList,
    /// Kernel, images, identifiers.
    pub info: NodeSystemInfo,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|t| t.trim().to_owned())
        .unwrap_or_default()
}

/// CPUs that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory of the machine.
pub fn memory_total() -> i64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Bytes of memory that can still be had.
pub fn memory_available() -> i64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<i64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Size and free bytes of the file system at `path`.
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let block = stat.fragment_size();
    Some((
        stat.blocks().saturating_mul(block),
        stat.blocks_available().saturating_mul(block),
    ))
}

/// Processes that the machine may have and has.
pub fn pids() -> Option<(u64, u64)> {
    let most = read("/proc/sys/kernel/pid_max").parse().ok()?;
    let load = read("/proc/loadavg");
    let now = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some((most, now))
}

/// The lowest OOM score this process may give: its own, if it lacks CAP_SYS_RESOURCE (bit 24).
pub fn oom_floor() -> i64 {
    let status = read("/proc/self/status");
    let caps = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .map(str::trim);
    let caps = caps.and_then(|c| u64::from_str_radix(c, 16).ok()).unwrap_or(0);
    if caps & (1 << 24) != 0 {
        -1000
    } else {
        read("/proc/self/oom_score_adj").parse().unwrap_or(0)
    }
}

impl Machine {
    /// Reads the machine that this runs on; the options' capacity wins.
    pub fn read(options: &Options) -> Self {
        let cpus = cpus();
        let storage = disk(&options.root_dir)
            .or_else(|| disk(Path::new("/")))
            .map_or(0, |(size, _)| size);
        let mut capacity = ResourceList::from([
            ("cpu".to_owned(), Quantity(cpus.to_string())),
            (
                "memory".to_owned(),
                Quantity(format!("{}Ki", memory_total() / 1024)),
            ),
            (
                "ephemeral-storage".to_owned(),
                Quantity(format!("{}Ki", storage / 1024)),
            ),
            ("pods".to_owned(), Quantity(options.max_pods.to_string())),
        ]);
        capacity.extend(options.capacity.clone());
        let allocatable = allocatable(&capacity, &options.reserved);
        let os = read("/etc/os-release");
        let os_image = os
            .lines()
            .find_map(|l| l.strip_prefix("PRETTY_NAME="))
            .unwrap_or("Linux")
            .trim_matches('"')
            .to_owned();
        let (system, kernel) = match nix::sys::utsname::uname() {
            Ok(u) => (
                u.machine().to_string_lossy().into_owned(),
                u.release().to_string_lossy().into_owned(),
            ),
            Err(_) => Default::default(),
        };
        let info = NodeSystemInfo {
            machine_id: read("/etc/machine-id"),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            kernel_version: kernel,
            os_image,
            container_runtime_version: String::new(),
            kubelet_version: options.version.clone(),
            kube_proxy_version: String::new(),
            operating_system: "linux".to_owned(),
            architecture: architecture(&system).to_owned(),
            swap: None,
            running_in_user_namespace: None,
        };
        Self {
            capacity,
            allocatable,
            info,
        }
    }
}

/// Go's name of an architecture, which Kubernetes uses.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Capacity less what is reserved.
fn allocatable(capacity: &ResourceList, reserved: &ResourceList) -> ResourceList {
    let mut out = capacity.clone();
    for (name, amount) in reserved {
        let Some(have) = capacity.get(name) else { continue };
        let text = if name == "cpu" {
            let left =
                crate::quantity::milli(have).unwrap_or(0) - crate::quantity::milli(amount).unwrap_or(0);
            format!("{}m", left.max(0))
        } else {
            let left =
                crate::quantity::units(have).unwrap_or(0) - crate::quantity::units(amount).unwrap_or(0);
            format!("{}Ki", left.max(0) / 1024)
        };
        out.insert(name.clone(), Quantity(text));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_allocatable() {
        let list = |text: &str| serde_json::from_str::<ResourceList>(text).unwrap();
        let left = allocatable(
            &list(r#"{"cpu":"2","memory":"1Gi","pods":"110"}"#),
            &list(r#"{"cpu":"100m","memory":"24Mi"}"#),
        );
        assert_eq!(left, list(r#"{"cpu":"1900m","memory":"1024000Ki","pods":"110"}"#));
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::read(&Options::new("n"));
        assert!(crate::quantity::units_of(Some(&machine.capacity), "memory").unwrap() > 1 << 20);
        assert_eq!(machine.info.operating_system, "linux");
    }
}
