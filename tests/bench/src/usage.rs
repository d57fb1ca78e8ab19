//! CPU time and memory of this process and of others.

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};
use std::time::{Duration, Instant};

/// CPU time (user and system, all threads) and time on the wall between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    began: Instant,
    cpu: Duration,
    of: Option<u32>,
}

impl Usage {
    /// Begins to measure this process.
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            cpu: own_cpu(),
            of: None,
        }
    }

    /// Begins to measure another process. Its times come in ticks of 10 ms.
    pub fn start_of(pid: u32) -> Self {
        Self {
            began: Instant::now(),
            cpu: cpu_of(pid),
            of: Some(pid),
        }
    }

    /// CPU time since the start.
    pub fn cpu(&self) -> Duration {
        let now = self.of.map_or_else(own_cpu, cpu_of);
        now.saturating_sub(self.cpu)
    }

    /// Time on the wall since the start.
    pub fn wall(&self) -> Duration {
        self.began.elapsed()
    }
}

fn own_cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Duration::ZERO;
    };
    let time = |t: nix::sys::time::TimeVal| {
        Duration::from_micros(t.tv_sec() as u64 * 1_000_000 + t.tv_usec() as u64)
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// CPU time that a process has used so far; zero if there is no such process.
pub fn cpu_of(pid: u32) -> Duration {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Duration::ZERO;
    };
    // The second field is the command in brackets and may hold spaces; user and system time are fields 14 and 15.
    let rest = stat.rsplit(')').next().unwrap_or("");
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).max(1) as u64;
    Duration::from_millis(ticks * 1000 / per_second)
}

/// Bytes of a process that are in memory and not backed by a file (RssAnon); `None` reads this process.
pub fn resident_of(pid: Option<u32>) -> u64 {
    let path = pid.map_or("/proc/self/status".to_owned(), |pid| {
        format!("/proc/{pid}/status")
    });
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("RssAnon:"))
        .unwrap_or("");
    line.split_whitespace()
        .next()
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_cpu_time_and_sleep_does_not() {
        let usage = Usage::start();
        std::thread::sleep(Duration::from_millis(50));
        let asleep = usage.cpu();
        let mut n = 0u64;
        // On a busy machine this takes longer than 100 ms.
        while usage.cpu() < asleep + Duration::from_millis(100) && usage.wall() < Duration::from_secs(60) {
            n = std::hint::black_box(n.wrapping_mul(31).wrapping_add(7));
        }
        assert!(
            usage.cpu() > asleep + Duration::from_millis(50),
            "{:?} after {asleep:?}",
            usage.cpu()
        );
        assert!(cpu_of(std::process::id()) > Duration::ZERO && resident_of(None) > 100_000);
    }
}
