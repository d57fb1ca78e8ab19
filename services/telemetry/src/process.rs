//! `process_*` metrics as Prometheus' client libraries have them, read from `/proc/self` when they are asked for.

use std::fmt::Write;

/// Clock ticks in a second: `USER_HZ`, 100 on every architecture that Linux still supports.
const TICKS: f64 = 100.0;
const KIB: u64 = 1024;

/// The metrics in Prometheus' text format; lines whose source cannot be read are left out.
pub fn text() -> String {
    let mut out = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let _infallible = write!(
                out,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name stands in parentheses and may hold anything; the numbers come after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
    let field = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok());
    let cpu = field(11)
        .zip(field(12))
        .map(|(user, system)| (user + system) / TICKS);
    put(
        "process_cpu_seconds_total",
        "counter",
        "Total user and system CPU time spent in seconds.",
        cpu,
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = |name: &str| -> Option<f64> {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some((kib * KIB) as f64)
    };
    put(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes.",
        memory("VmRSS"),
    );
    put(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory size in bytes.",
        memory("VmSize"),
    );
    let open = std::fs::read_dir("/proc/self/fd")
        .ok()
        .map(|dir| dir.count() as f64);
    put(
        "process_open_fds",
        "gauge",
        "Number of open file descriptors.",
        open,
    );
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits.lines().find_map(|l| {
        l.strip_prefix("Max open files")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    put(
        "process_max_fds",
        "gauge",
        "Maximum number of open file descriptors.",
        most,
    );
    let threads = field(17);
    put(
        "process_threads",
        "gauge",
        "Number of operating system threads.",
        threads,
    );
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let booted = stat
        .lines()
        .find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    let start = booted
        .zip(field(19))
        .map(|(booted, ticks)| booted + ticks / TICKS);
    put(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        start,
    );
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_process_knows_its_own_figures() {
        let text = super::text();
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_threads",
            "process_start_time_seconds",
        ] {
            let line = text
                .lines()
                .find(|l| l.starts_with(&format!("{name} ")))
                .expect(name);
            let value: f64 = line.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(value >= 0.0 && (value > 0.0 || name.contains("cpu")), "{line}");
        }
    }
}
