//! The disk's syncs take long (strace holds them back): no write is acknowledged before its sync has returned.

use durability::{Marina, Process, objects};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DELAY: Duration = Duration::from_millis(400);

/// strace, attached to a process; let go when it is dropped.
struct Strace(Child);

impl Strace {
    fn attach(strace: &Path, process: &Process, log: &Path) -> Option<Self> {
        let inject = format!("inject=fdatasync,fsync:delay_enter={}", DELAY.as_micros());
        let mut command = Command::new(strace);
        command
            .args(["-f", "-tt", "-e", "trace=fdatasync,fsync", "-e", &inject, "-o"])
            .arg(log);
        let mut child = command
            .args(["-p", &process.id().to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        // It says "attached" on stderr for each thread; until it is traced, a thread is not delayed.
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if child.try_wait().ok()?.is_some() {
                return None;
            }
            if traced(process.id()) {
                return Some(Self(child));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(Self(child));
        None
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Whether every thread of a process has a tracer.
fn traced(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status
            .lines()
            .any(|l| l.strip_prefix("TracerPid:").is_some_and(|n| n.trim() != "0"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_acknowledged_before_its_sync_has_returned() {
    let Some(strace) = needs::program("strace") else {
        return needs::skip("strace is not installed");
    };
    let Some(marina) = Marina::new() else { return };
    let process = marina.start();
    let client = marina.cluster("synced");
    let timed = async |n| {
        let began = Instant::now();
        objects::create(&client, n).await.unwrap();
        began.elapsed()
    };
    timed(0).await;
    let log = tempfile::NamedTempFile::new().unwrap();
    let Some(strace) = Strace::attach(&strace, &process, log.path()) else {
        return needs::skip("strace may not attach to another process here");
    };
    let mut quickest = Duration::MAX;
    for n in 1..=8 {
        quickest = quickest.min(timed(n).await);
    }
    // Writers at once share a sync, but none gets ahead of it.
    let together = (10..18).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            objects::create(&client, n).await.unwrap();
            began.elapsed()
        })
    });
    for one in together.collect::<Vec<_>>() {
        quickest = quickest.min(one.await.unwrap());
    }
    drop(strace);
    let syncs = std::fs::read_to_string(log.path()).unwrap();
    let syncs = syncs.lines().filter(|l| l.contains("sync(")).count();
    println!("the quickest write took {quickest:.2?} with syncs delayed by {DELAY:?}; {syncs} syncs");
    assert!(syncs >= 8, "strace saw {syncs} syncs");
    assert!(
        quickest >= DELAY,
        "a write was acknowledged after {quickest:?}, before its sync returned"
    );
    // Without strace they are quick again: it was the sync that they waited for.
    let mut after = Duration::MAX;
    for n in 20..60 {
        after = after.min(timed(n).await);
    }
    assert!(after < DELAY, "even without a delay a write takes {after:?}");
}
