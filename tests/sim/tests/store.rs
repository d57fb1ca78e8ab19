//! Simulated groups keep what they acknowledged. `MARINA_SIM_SEEDS=1000` runs more seeds, `MARINA_SIM_FIRST=7` begins
//! elsewhere. A seed that fails is replayed by `cargo run -p sim -- SEED`.

use std::process::{Command, Output};

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is no number: {n}")))
}

fn sim(seed: u64, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim"))
        .arg(seed.to_string())
        .args(more)
        .output()
        .unwrap()
}

/// Runs the seeds, two at a time.
fn all(seeds: std::ops::Range<u64>, more: &[&str]) -> Vec<(u64, Output)> {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= seeds.end {
                return done;
            }
            done.push((seed, sim(seed, more)));
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[test]
fn nothing_acknowledged_is_lost_whatever_breaks() {
    let first = number("MARINA_SIM_FIRST").unwrap_or(0);
    let runs = all(first..first + number("MARINA_SIM_SEEDS").unwrap_or(3), &[]);
    let failed: Vec<String> = runs
        .iter()
        .filter(|(_, output)| !output.status.success())
        .map(|(seed, output)| format!("{}\nreplay: cargo run -p sim -- {seed}", text(&output.stderr)))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} runs failed:\n{}",
        failed.len(),
        runs.len(),
        failed.join("\n")
    );
    for (_, output) in &runs {
        println!("{}", text(&output.stdout));
    }
}

#[test]
fn a_seed_replays_to_the_same_run() {
    let (one, other) = (sim(3, &[]), sim(3, &[]));
    assert_eq!(text(&one.stdout), text(&other.stdout));
    assert!(
        one.status.success() && !one.stdout.is_empty(),
        "{}",
        text(&one.stderr)
    );
}

#[test]
fn a_disk_that_acknowledges_before_it_has_synced_is_found_out() {
    let runs = all(0..3, &["--acknowledge-before-sync"]);
    let reasons: Vec<String> = runs.iter().map(|(_, output)| text(&output.stderr)).collect();
    for (seed, output) in &runs {
        assert!(
            !output.status.success(),
            "seed {seed} did not notice: {}",
            text(&output.stdout)
        );
    }
    assert!(
        reasons
            .iter()
            .any(|why| why.contains("an acknowledged write is lost")),
        "{reasons:?}"
    );
}
