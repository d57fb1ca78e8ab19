//! `kill -9` while clients write over HTTPS: after the restart, everything that was acknowledged is there.
//! `MARINA_WRITES` sets how many writes are acknowledged before the last kill.

use durability::{Marina, objects};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const WRITERS: u64 = 32;
const KILLS: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_acknowledged_writes_survive_kills() {
    let Some(marina) = Marina::new() else { return };
    let total: u64 = std::env::var("MARINA_WRITES").map_or(10_000, |n| n.parse().unwrap());
    let mut process = marina.start();
    let client = marina.cluster("durable");
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    let next = Arc::new(AtomicU64::new(0));
    for kill in 1..=KILLS {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (client, acknowledged, next) = (client.clone(), acknowledged.clone(), next.clone());
                tokio::spawn(async move {
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        match objects::create(&client, n).await {
                            Ok(()) => drop(acknowledged.lock().unwrap().insert(n)),
                            Err(error) => return error,
                        }
                    }
                })
            })
            .collect();
        let goal = total * kill / KILLS;
        let began = Instant::now();
        while (acknowledged.lock().unwrap().len() as u64) < goal {
            assert!(
                !writers.iter().any(|w| w.is_finished()),
                "a write failed: {}",
                process.log()
            );
            assert!(began.elapsed() < Duration::from_secs(900), "writing is too slow");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        process.kill();
        let killed = Instant::now();
        for writer in writers {
            // Each has lost its connection; what it was writing then was not acknowledged.
            writer.await.unwrap();
        }
        process = marina.start();
        let ready = killed.elapsed();
        let found = objects::list(&client).await.unwrap();
        let serving = killed.elapsed();
        let acknowledged = acknowledged.lock().unwrap().clone();
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        println!(
            "kill {kill}: {} acknowledged, {} lost, {} there; ready {ready:.2?} after the kill, all listed after {serving:.2?}",
            acknowledged.len(),
            lost.len(),
            found.len()
        );
        assert!(
            lost.is_empty(),
            "{} acknowledged writes are lost: {lost:?}",
            lost.len()
        );
        // What was never acknowledged may be there, but only what was being written at the kill.
        assert!(found.len() - acknowledged.len() < ((WRITERS + 1) * kill) as usize);
        objects::create(&client, 1_000_000 + kill)
            .await
            .expect("the restarted service takes writes");
    }
}
