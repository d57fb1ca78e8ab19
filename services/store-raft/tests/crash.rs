//! Acknowledged writes survive `kill -9`. The number of kills can be raised with `MARINA_CRASHES`.

mod common;

use common::single;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use store_api::{Consistency, Range, Span, Store};

/// The example is built beside the tests by `cargo test`.
fn victim() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples")
        .join("crash")
}

/// Runs the victim for a while, kills it, and gives the numbers it acknowledged.
fn run_and_kill(dir: &Path, first: u64, life: Duration) -> BTreeSet<u64> {
    let mut child = Command::new(victim())
        .arg(dir)
        .arg(first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", victim().display()));
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(out).lines().map_while(Result::ok);
        // The last line may be cut by the kill; then the number is not taken as acknowledged.
        let mut lines: Vec<String> = lines.collect();
        lines.pop();
        lines
            .iter()
            .filter_map(|l| l.parse().ok())
            .collect::<BTreeSet<u64>>()
    });
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_the_process_is_killed() {
    let rounds: u64 = std::env::var("MARINA_CRASHES")
        .ok()
        .map_or(3, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds {
        let life = Duration::from_millis(800 + round * 37 % 400);
        let path = dir.path().to_owned();
        let first = round * 1_000_000;
        let more = tokio::task::spawn_blocking(move || run_and_kill(&path, first, life))
            .await
            .unwrap();
        assert!(!more.is_empty(), "round {round}: the victim acknowledged nothing");
        acknowledged.extend(more);
        let running = single(dir.path()).await;
        let span = Span::prefix(&"crash".parse().unwrap(), "/registry/configmaps/".into());
        let range = Range {
            span,
            at: None,
            limit: 0,
            consistency: Consistency::Linearizable,
        };
        let found = running.store.range(range).await.unwrap().records;
        let found: BTreeSet<u64> = found.iter().map(|r| r.key.name().parse().unwrap()).collect();
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(
            lost.is_empty(),
            "round {round}: {} of {} lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
        running.stop().await;
    }
    println!(
        "{} acknowledged writes survived {rounds} kills",
        acknowledged.len()
    );
}
