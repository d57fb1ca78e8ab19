//! Writes for ever, and prints each write's number once it was acknowledged: the victim of the crash test.

use base::{Clock, ClusterId, Shutdown};
use bytes::Bytes;
use std::io::Write;
use std::sync::Arc;
use store_api::{Key, Op, Store, Txn};
use store_raft::{Alone, Options};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (dir, first) = match (args.next(), args.next()) {
        (Some(dir), Some(first)) => (dir, first.parse::<u64>()?),
        _ => return Err("usage: crash DIR FIRST_NUMBER".into()),
    };
    // A small flush interval, so that kills also hit flushing and purging.
    let options = Options {
        flush_after: 50,
        ..Options::single(dir)
    };
    // Whoever had the directory before may still be closing it.
    let mut tries = 0;
    let (store, service) = loop {
        match store_raft::open(options.clone(), Clock::system(), Arc::new(Alone)).await {
            Ok(opened) => break opened,
            Err(e) if tries == 100 => return Err(e.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    tokio::spawn(service.run(Shutdown::new()));
    let cluster: ClusterId = "crash".parse()?;
    let writers = (0..16u64).map(|lane| {
        let (store, cluster) = (store.clone(), cluster.clone());
        tokio::spawn(async move {
            for n in (first..).skip(lane as usize).step_by(16) {
                let Ok(key) = Key::object(&cluster, "configmaps", None, &n.to_string()) else {
                    return;
                };
                let then = vec![Op::put(key, Bytes::from(vec![b'x'; 512]))];
                if store
                    .txn(
                        &cluster,
                        Txn {
                            then,
                            ..Txn::default()
                        },
                    )
                    .await
                    .is_err()
                {
                    return;
                }
                let line = format!("{n}\n");
                if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
                    return;
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await?;
    }
    Ok(())
}
