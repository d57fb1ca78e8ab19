//! The API server: what a create, a get, a patch, a list, a watched event and a delete cost it.
//!
//! A `marinad dev` runs in a process beside (`--marinad PATH`), on a disk, every write synced. The client speaks TLS and
//! HTTP/2 with a client certificate, as the kubeconfig says, over up to eight connections. That user is of `system:masters`, whom no rule is looked up for.
//! **The first figure of a line is the CPU time of the whole server process for each operation**, store, controllers and
//! audit log included, read from the kernel; client and server share the cores, so rates come after it and say less.
//! A pod names a scheduler that is not there, so that what is measured is the API server's work alone.
//!
//! References: upstream 1.36.3 with etcd 3.6.8 on two cores, audit log off; its pods are 1,358 B of JSON, ours 1,246 B as sent.
//! `--only list,watch` chooses parts; 20,000 pods are created in any case.

mod pods;
mod watched;

use anyhow::{Result, ensure};
use bench::{Call, Door, Histogram, JSON, Load, MERGE, PROTOBUF, Report, Server, Usage, per_second};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use pods::{name, new_pod, new_status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use watched::{WATCHERS, Watched};

/// Connections that the requests in flight share.
const CONNECTIONS: u64 = 8;
/// What the server does after its last answer (log, compaction of memory) belongs to the figures.
const TAIL: Duration = Duration::from_millis(200);
/// A memory reading waits for this long before.
const SETTLE: Duration = Duration::from_secs(2);
/// Lists of the whole.
const LISTS: u64 = 10;
/// Objects of a page.
const PAGE: u64 = 500;
/// An event that has not come by then will not come.
const PATIENCE: Duration = Duration::from_secs(60);
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let report = Report::from_args("api");
    let dir = tempfile::tempdir()?;
    let server = Server::start(report.args(), dir.path(), &[])?;
    let mut bench = Bench::new(server, report).await?;
    bench.start().await?;
    bench.create().await?;
    if bench.wants("get") {
        bench.get().await?;
    }
    if bench.wants("patch") {
        bench.patch().await?;
    }
    if bench.wants("list") {
        bench.list().await?;
    }
    if bench.wants("watch") {
        bench.watch().await?;
    }
    if bench.wants("delete") {
        bench.delete().await?;
    }
    bench.report.print();
    Ok(())
}

/// A cluster, the connections to it, and the figures so far.
struct Bench {
    server: Server,
    access: bench::Access,
    doors: Arc<Vec<Door>>,
    report: Report,
    /// Pods in the namespace `json`.
    pods: u64,
    /// CPU time of each operation of the last load.
    each: Duration,
}

impl Bench {
    async fn new(server: Server, report: Report) -> Result<Self> {
        let mut rest = server.rest().await?;
        rest.create("api").await?;
        let access = rest.access("api").await?;
        let mut doors = Vec::new();
        for _ in 0..CONNECTIONS {
            doors.push(Door::open(&access).await?);
        }
        let pods = report.scale(20_000);
        Ok(Self {
            server,
            access,
            doors: Arc::new(doors),
            report,
            pods,
            each: Duration::ZERO,
        })
    }

    fn wants(&self, part: &str) -> bool {
        self.report
            .args()
            .value("--only")
            .is_none_or(|only| only.split(',').any(|o| o == part))
    }

    /// What an empty server needs, and each watcher beside it: read while no freed memory hides any.
    async fn start(&mut self) -> Result<()> {
        let line = format!(
            "{:.2?}, RSS {} with one cluster",
            self.server.ready_after(),
            mib(self.server.resident())
        );
        self.report.add(
            "start to ready, empty store",
            line,
            "2.0-2.6 s, RSS 263 MiB + etcd 45 MiB",
        );
        let before = self.settled().await;
        let watched = Watched::start(&self.access, "default").await?;
        let each = self.settled().await.saturating_sub(before) / WATCHERS;
        drop(watched);
        self.report.add(
            format!("memory of a watcher, {WATCHERS}, a connection each"),
            format!("RSS +{} KiB", each / 1024),
            "-",
        );
        Ok(())
    }

    /// Makes a namespace and waits until pods can be created in it.
    async fn namespace(&self, name: &str) -> Result<()> {
        let body = json!({"metadata": {"name": name}}).to_string();
        let door = &self.doors[0];
        door.call(Call::write(Method::POST, "/api/v1/namespaces", JSON, body))
            .await?;
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        let began = Instant::now();
        while let Err(error) = door.call(Call::get(&path, JSON)).await {
            ensure!(
                began.elapsed() < PATIENCE,
                "{name} has no service account: {error}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Makes `total` calls, so many at a time, and adds what they cost.
    async fn load(
        &mut self,
        figure: &str,
        reference: &str,
        (in_flight, total): (u64, u64),
        call: impl Fn(u64) -> Call + Send + Sync + 'static,
    ) -> Result<()> {
        let doors = self.doors.clone();
        let usage = Usage::start_of(self.server.pid());
        let load = bench::run(in_flight, total, move |n| {
            let door = doors[(n % in_flight.min(CONNECTIONS)) as usize].clone();
            let call = call(n);
            async move { told(door.call(call).await) }
        })
        .await;
        tokio::time::sleep(TAIL).await;
        let cpu = usage.cpu();
        self.each = load.each(cpu);
        ensure!(load.latency.count() > 0, "{figure}: every call failed");
        self.report.add(
            format!("{figure}, {in_flight} in flight"),
            line(&load, self.each),
            reference,
        );
        Ok(())
    }

    /// Creates pods, a namespace for each kind of load; leaves [`Self::pods`] of them in the namespace `json`.
    async fn create(&mut self) -> Result<()> {
        for name in ["warm", "one", "sixteen", "json", "protobuf"] {
            self.namespace(name).await?;
        }
        self.sizes().await?;
        let doors = self.doors.clone();
        let warm = bench::run(16, 500, move |n| {
            let door = doors[(n % CONNECTIONS) as usize].clone();
            async move { told(door.call(new_pod("warm", n)).await) }
        })
        .await;
        ensure!(warm.failed == 0, "{} of the first creates failed", warm.failed);

        let (one, many) = (self.report.scale(2_000), self.pods);
        self.load("create pod", "3.3 ms CPU, 353/s, 2.5 / 10 ms", (1, one), |n| {
            new_pod("one", n)
        })
        .await?;
        self.load("create pod", "-", (16, many / 2), |n| new_pod("sixteen", n))
            .await?;
        let before = self.settled().await;
        let reference = "1.88 ms CPU, 954/s, 56 / 208 ms";
        self.load("create pod", reference, (64, many), |n| new_pod("json", n))
            .await?;
        let after = self.settled().await;
        let grown = after.saturating_sub(before);
        self.report.add(
            format!("memory for these {many} pods"),
            format!("RSS +{}, {} B a pod", mib(grown), grown / many),
            "RSS +896 MiB",
        );
        let create = pods::in_protobuf("protobuf")?;
        self.load(
            "create pod, protobuf",
            "1.61 ms CPU, 795/s, 73 / 221 ms",
            (64, many / 2),
            create,
        )
        .await
    }

    /// How long a pod is, sent and as it comes back.
    async fn sizes(&mut self) -> Result<()> {
        let sent = new_pod("warm", 9_999_999);
        let (json, proto) = (sent.body.len(), pods::in_protobuf("warm")?(0).body.len());
        let door = &self.doors[0];
        let path = format!("/api/v1/namespaces/warm/pods/{}", name(9_999_999));
        let back = door.call(sent).await?.len();
        let back_proto = door.call(Call::get(path, PROTOBUF)).await?.len();
        self.report.add(
            "a pod, JSON / protobuf",
            format!("{json} / {proto} B sent, {back} / {back_proto} B back"),
            "1,358 / 952 B",
        );
        Ok(())
    }

    async fn get(&mut self) -> Result<()> {
        let (pods, few, many) = (self.pods, self.report.scale(10_000), self.report.scale(50_000));
        let path = move |n: u64| format!("/api/v1/namespaces/json/pods/{}", name(n * 7 % pods));
        self.load("get pod", "-", (1, few), move |n| Call::get(path(n), JSON))
            .await?;
        self.load("get pod", "-", (16, many), move |n| Call::get(path(n), JSON))
            .await?;
        let reference = "546 us CPU, 2,383/s, 21 / 123 ms";
        self.load("get pod", reference, (64, many), move |n| {
            Call::get(path(n), JSON)
        })
        .await?;
        self.load("get pod, protobuf", "-", (64, many), move |n| {
            Call::get(path(n), PROTOBUF)
        })
        .await
    }

    async fn patch(&mut self) -> Result<()> {
        let half = self.pods / 2;
        let reference = "2.92 ms CPU, 460/s, 119 / 414 ms";
        self.load("strategic merge patch of status", reference, (64, half), |n| {
            new_status("json", n, n)
        })
        .await?;
        self.load("strategic merge patch of status", "-", (1, half / 10), move |n| {
            new_status("json", half + n, n)
        })
        .await?;
        self.load("merge patch of a label", "-", (64, half), |n| {
            let path = format!("/api/v1/namespaces/json/pods/{}", name(n));
            let body = json!({"metadata": {"labels": {"changed": n.to_string()}}});
            Call::write(Method::PATCH, path, MERGE, body.to_string())
        })
        .await
    }

    async fn list(&mut self) -> Result<()> {
        let path = "/api/v1/namespaces/json/pods";
        let all: Value = serde_json::from_slice(&self.doors[0].call(Call::get(path, JSON)).await?)?;
        let count = all["items"].as_array().map_or(0, Vec::len) as u64;
        ensure!(count == self.pods, "{count} of {} pods are listed", self.pods);
        let pods = self.pods;
        let figure = format!("list {pods} pods");
        self.whole(&figure, path, JSON, "1.08 s CPU, total 1.04 s, RSS +150-250 MiB")
            .await?;
        let reference = "0.65 s CPU, total 0.54 s, RSS +150-250 MiB";
        self.whole(&format!("{figure}, protobuf"), path, PROTOBUF, reference)
            .await?;

        let mut pages = vec![format!("{path}?limit={PAGE}")];
        while let Some(token) = self.next_page(&pages[pages.len() - 1]).await? {
            pages.push(format!("{path}?limit={PAGE}&continue={token}"));
        }
        ensure!(pages.len() as u64 == pods.div_ceil(PAGE), "{} pages", pages.len());
        let (count, pages) = (pages.len() as u64, Arc::new(pages));
        for (more, media) in [("", JSON), (", protobuf", PROTOBUF)] {
            for (in_flight, reference) in [(1, "-"), (4, "35 ms CPU, 38/s, 84 / 277 ms (JSON)")] {
                let pages = pages.clone();
                let figure = format!("page of {PAGE} pods{more}");
                self.load(&figure, reference, (in_flight, count * 5), move |n| {
                    Call::get(pages[(n % count) as usize].clone(), media)
                })
                .await?;
                if in_flight == 1 {
                    let whole = self.each * count as u32;
                    let figure = format!("list {pods} pods in {count} pages{more}");
                    self.report.add(figure, format!("{whole:.1?} CPU"), "-");
                }
            }
        }
        Ok(())
    }

    async fn next_page(&self, path: &str) -> Result<Option<String>> {
        let page = self.doors[0].call(Call::get(path, JSON)).await?;
        let page: Value = serde_json::from_slice(&page)?;
        let token = page["metadata"]["continue"].as_str().filter(|t| !t.is_empty());
        Ok(token.map(|t| t.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")))
    }

    /// Lists everything in one answer, again and again.
    async fn whole(&mut self, figure: &str, path: &str, media: &'static str, reference: &str) -> Result<()> {
        let (before, peak) = (self.settled().await, Peak::start(self.server.pid()));
        let usage = Usage::start_of(self.server.pid());
        let (mut first, mut total, mut bytes) = (Histogram::default(), Histogram::default(), 0);
        for _ in 0..LISTS {
            let began = Instant::now();
            let mut answer = self.doors[0].send(Call::get(path, media)).await?;
            ensure!(answer.status().is_success(), "{path}: {}", answer.status());
            bytes = 0;
            while let Some(frame) = answer.body_mut().frame().await {
                let length = frame?.data_ref().map_or(0, Bytes::len);
                if bytes == 0 && length > 0 {
                    first.record(began.elapsed());
                }
                bytes += length as u64;
            }
            total.record(began.elapsed());
        }
        let cpu = usage.cpu() / LISTS as u32;
        let grown = peak.end().saturating_sub(before);
        self.report.add(
            figure,
            format!(
                "{cpu:.1?} CPU, first byte {:.1?}, total {:.1?} (max {:.1?}), {}, RSS +{}",
                first.percentile(0.5),
                total.percentile(0.5),
                total.max(),
                mib(bytes),
                mib(grown)
            ),
            reference,
        );
        Ok(())
    }

    async fn watch(&mut self) -> Result<()> {
        self.namespace("watched").await?;
        let watched = Watched::start(&self.access, "watched").await?;
        let number = self.report.scale(2_000);
        let create = |n| new_pod("watched", n);
        self.deliver(&watched, "creates, one writer", "-", (1, number), create)
            .await?;
        self.deliver(&watched, "status patches, one writer", "-", (1, number), |n| {
            new_status("watched", n, n)
        })
        .await?;
        let reference = "42 us CPU, 25,000/s";
        let create = move |n| new_pod("watched", number + n);
        self.deliver(&watched, "creates", reference, (64, number * 2), create)
            .await?;
        self.deliver(&watched, "status patches", "-", (64, number * 2), move |n| {
            new_status("watched", number + n, n)
        })
        .await
    }

    /// Writes, and waits until every watcher has got everything.
    async fn deliver(
        &mut self,
        watched: &Watched,
        what: &str,
        reference: &str,
        (in_flight, total): (u64, u64),
        call: impl Fn(u64) -> Call + Send + Sync + 'static,
    ) -> Result<()> {
        watched.begin();
        let (doors, seen) = (self.doors.clone(), watched.seen.clone());
        let usage = Usage::start_of(self.server.pid());
        let load = bench::run(in_flight, total, move |n| {
            let (door, call) = (doors[(n % in_flight.min(CONNECTIONS)) as usize].clone(), call(n));
            seen.sent(&call);
            async move { told(door.call(call).await) }
        })
        .await;
        ensure!(load.failed == 0, "{what}: {} writes failed", load.failed);
        let expected = total * WATCHERS;
        while watched.seen.count.load(Ordering::Relaxed) < expected {
            ensure!(
                usage.wall() < load.wall + PATIENCE,
                "{what}: {} of {expected} events came",
                watched.seen.count.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let wall = usage.wall();
        tokio::time::sleep(TAIL).await;
        let cpu = usage.cpu();
        let latency = watched.latency();
        self.report.add(
            format!("event to {WATCHERS} watchers: {what}, {in_flight} in flight"),
            format!(
                "{:.1?} CPU a delivery, write included, {}, write to receipt {:.1?} / {:.1?}; writes {}",
                cpu / u32::try_from(expected)?,
                per_second(expected as f64 / wall.as_secs_f64()),
                latency.percentile(0.5),
                latency.percentile(0.99),
                per_second(load.rate())
            ),
            reference,
        );
        Ok(())
    }

    async fn delete(&mut self) -> Result<()> {
        let reference = "2.2 ms CPU, 548/s, 104 / 257 ms";
        self.load("delete pod, grace 0", reference, (64, self.pods / 2), |n| {
            let path = format!("/api/v1/namespaces/json/pods/{}", name(n));
            Call::write(Method::DELETE, path, JSON, r#"{"gracePeriodSeconds":0}"#)
        })
        .await
    }

    async fn settled(&self) -> u64 {
        tokio::time::sleep(SETTLE).await;
        self.server.resident()
    }
}

/// CPU first, then rate, p50 and p99.
fn line(load: &Load, each: Duration) -> String {
    let failed = if load.failed > 0 {
        format!(", {} FAILED", load.failed)
    } else {
        String::new()
    };
    format!(
        "{each:.1?} CPU, {}, {:.2?} / {:.2?}{failed}",
        per_second(load.rate()),
        load.latency.percentile(0.5),
        load.latency.percentile(0.99)
    )
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Whether a call succeeded; the first failures are shown.
fn told(answer: Result<Bytes>) -> bool {
    static SHOWN: AtomicU64 = AtomicU64::new(0);
    if let Err(error) = &answer
        && SHOWN.fetch_add(1, Ordering::Relaxed) < 5
    {
        eprintln!("failed: {error:#}");
    }
    answer.is_ok()
}

/// Reads a process's memory every few milliseconds and keeps the highest.
struct Peak {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u64>,
}

impl Peak {
    fn start(pid: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while !told.load(Ordering::Relaxed) {
                peak = peak.max(bench::resident_of(Some(pid)));
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        Self { stop, thread }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or(0)
    }
}
