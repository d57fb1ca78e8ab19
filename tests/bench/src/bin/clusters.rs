//! Clusters: how long one takes from the wish for it to its first object, and what many of them cost.
//!
//! A `marinad dev` of its own runs in a process beside, on a disk, with simulated machines; `--marinad PATH` says which one, else
//! it is looked for beside this program. What is timed is what a user waits for: `POST …/clusters`, the operation's end, a
//! kubeconfig, and a ConfigMap written through it over TLS. Memory is the proportional set size of the whole process
//! (`/proc/<pid>/smaps_rollup`), so what a cluster costs is the difference between two readings, divided.

use anyhow::Result;
use bench::{Http, Report, Server, cpu_of};
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long idleness is watched.
const IDLE: Duration = Duration::from_secs(10);
/// Work that a creation leaves behind (log, compaction) may take so long before memory is read.
const SETTLE: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut report = Report::from_args("clusters");
    let dir = tempfile::tempdir()?;
    let server = Server::start(report.args(), dir.path(), &[])?;
    let mut rest = server.rest().await?;

    let first = server.pss()?;
    report.add("memory with no cluster", mib(first), "-");
    let (mut ready, mut total) = (Vec::new(), Vec::new());
    let timed = report.scale(50);
    for n in 0..timed {
        let began = Instant::now();
        rest.create(&format!("timed-{n}")).await?;
        ready.push(began.elapsed());
        first_object(&mut rest, &format!("timed-{n}")).await?;
        total.push(began.elapsed());
        if n == 0 {
            report.add("memory with 1 cluster", mib(settled(&server).await?), "-");
        }
    }
    report.add("create until usable", percentiles(&mut ready), "-");
    report.add(
        "create until the first ConfigMap",
        percentiles(&mut total),
        "p50 100ms (goal)",
    );

    let mut count = timed;
    for goal in [100, 500].map(|goal| report.scale(goal)) {
        let begin = settled(&server).await?;
        let before = count;
        while count < goal {
            rest.create(&format!("more-{count}")).await?;
            count += 1;
        }
        let end = settled(&server).await?;
        report.add(format!("memory with {count} clusters"), mib(end), "-");
        if count > before {
            let each = end.saturating_sub(begin) / (count - before);
            let figure = format!("each of the last {}", count - before);
            report.add(figure, format!("{} KiB", each / 1024), "at most 1024 KiB (goal)");
        }
    }
    let (before, began) = (cpu_of(server.pid()), Instant::now());
    tokio::time::sleep(IDLE).await;
    let used = cpu_of(server.pid()).saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    report.add(
        format!("idle CPU with {count} clusters"),
        format!("{:.2}% of a core", used * 100.0),
        "-",
    );
    report.print();
    Ok(())
}

async fn settled(server: &Server) -> Result<u64> {
    tokio::time::sleep(SETTLE).await;
    server.pss()
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn percentiles(all: &mut [Duration]) -> String {
    all.sort();
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
    format!("p50 {:.0?} p99 {:.0?} ({} times)", at(0.5), at(0.99), all.len())
}

/// Writes a ConfigMap as a user would who has just asked for a kubeconfig.
async fn first_object(rest: &mut Http, name: &str) -> Result<()> {
    let access = rest.access(name).await?;
    let mut api = Http::connect(&access.address, access.tls(b"http/1.1")?, None).await?;
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first"}, "data": {"a": "b"}});
    api.call(Method::POST, "/api/v1/namespaces/default/configmaps", object)
        .await?;
    Ok(())
}
