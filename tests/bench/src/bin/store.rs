//! The store: durable puts (every one is acknowledged after `fdatasync`), reads, watches, and what they cost.
//!
//! Three layers are measured: the store in this process, as the combined `marinad` uses it; the etcd door in a process
//! of its own, by an etcd client over loopback; and, with `--etcd PATH` of an etcd binary, that same client on a real
//! etcd, so that both sides of the comparison are from one machine and one moment. `--dir` says where the disk is.

use anyhow::{Context, Result, bail};
use base::{Clock, ClusterId, Shutdown};
use bench::{Load, Report, Usage, per_second, resident_of};
use bytes::Bytes;
use etcd_door::Io;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store_api::{Consistency, Key, Op, Range, Span, Store, Txn, WatchMessage, WatchRequest};
use store_etcd::{EtcdStore, Layout};
use store_raft::{Alone, Options};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

/// Bytes of a value.
const VALUE: usize = 1024;
/// Connections of the etcd client.
const CONNECTIONS: usize = 16;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut report = Report::from_args("store");
    if let Some(dir) = report.args().value("--serve") {
        return serve(PathBuf::from(dir)).await;
    }
    let parent = report
        .args()
        .value("--dir")
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(&parent).context("cannot make a directory for the store")?;
    report.add(
        "fdatasync of 1 KiB appended",
        disk(dir.path(), report.scale(2_000))?,
        "p50 127us",
    );
    in_process(&mut report, dir.path()).await?;
    door(&mut report, dir.path()).await?;
    if let Some(etcd) = report.args().value("--etcd").map(PathBuf::from) {
        real_etcd(&mut report, &etcd, dir.path()).await?;
    }
    report.print();
    Ok(())
}

fn cluster() -> ClusterId {
    "bench".parse().expect("a valid id")
}

fn key(n: u64) -> Key {
    Key::object(&cluster(), "configmaps", Some("bench"), &format!("object-{n:08}"))
        .expect("plain parts make a key")
}

fn put(n: u64) -> Txn {
    Txn {
        then: vec![Op::put(key(n), Bytes::from(vec![b'x'; VALUE]))],
        ..Txn::default()
    }
}

/// What the disk can do at best: one thread, one write, one sync.
fn disk(dir: &Path, times: u64) -> Result<String> {
    use std::io::Write;
    let mut file = std::fs::File::create(dir.join("sync"))?;
    let mut latency = bench::Histogram::default();
    for _ in 0..times {
        file.write_all(&[b'x'; VALUE])?;
        let began = Instant::now();
        file.sync_data()?;
        latency.record(began.elapsed());
    }
    Ok(format!(
        "p50 {:.0?}, p99 {:.0?}",
        latency.percentile(0.5),
        latency.percentile(0.99)
    ))
}

async fn puts(store: &Arc<dyn Store>, clients: u64, total: u64) -> Load {
    let store = store.clone();
    let next = Arc::new(AtomicU64::new(0));
    bench::run(clients, total, move |_| {
        let (store, n) = (store.clone(), next.fetch_add(1, Ordering::Relaxed));
        async move { store.txn(&cluster(), put(n)).await.is_ok() }
    })
    .await
}

async fn gets(store: &Arc<dyn Store>, clients: u64, total: u64, among: u64) -> Load {
    let store = store.clone();
    bench::run(clients, total, move |n| {
        let store = store.clone();
        let span = Span::one(&key(n * 7919 % among));
        let range = Range {
            span,
            at: None,
            limit: 1,
            consistency: Consistency::Linearizable,
        };
        async move { store.range(range).await.is_ok_and(|r| r.records.len() == 1) }
    })
    .await
}

async fn in_process(report: &mut Report, dir: &Path) -> Result<()> {
    let empty = resident_of(None);
    let (store, service) =
        store_raft::open(Options::single(dir.join("own")), Clock::system(), Arc::new(Alone)).await?;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(service.run(shutdown.clone()));
    let store: Arc<dyn Store> = Arc::new(store);
    report.add(
        "memory of an open, empty store",
        mib(resident_of(None).saturating_sub(empty)),
        "45 MiB (etcd)",
    );
    let idle = Usage::start();
    tokio::time::sleep(Duration::from_secs(report.scale(10))).await;
    let share = idle.cpu().as_secs_f64() / idle.wall().as_secs_f64();
    report.add(
        "CPU of an idle store",
        format!("{:.3}% of a core", share * 100.0),
        "-",
    );

    let one = puts(&store, 1, report.scale(5_000)).await;
    report.add(
        "put 1 KiB, 1 client, in process",
        one.summary(),
        "1,603/s, 0.5 / 3.6 ms, 345 us CPU (etcd)",
    );
    let many = puts(&store, 64, report.scale(100_000)).await;
    report.add(
        "put 1 KiB, 64 clients, in process",
        many.summary(),
        "9,085/s, 5.6 / 22 ms, 73 us CPU (etcd)",
    );
    let most = puts(&store, 1000, report.scale(200_000)).await;
    report.add(
        "put 1 KiB, 1,000 clients, in process",
        most.summary(),
        "20,570/s, 43 / 97 ms, 53 us CPU (etcd)",
    );
    let read = gets(&store, 64, report.scale(500_000), report.scale(100_000)).await;
    report.add(
        "get 1 KiB, linearizable, 64 clients, in process",
        read.summary(),
        "35,400/s, 1.6 / 5 ms, 30 us CPU (etcd)",
    );
    watches(report, &store).await?;
    let objects = report.scale(200_000);
    let per_object = resident_of(None).saturating_sub(empty) / objects.max(1);
    report.add(
        format!("memory for each of {objects} objects of 1 KiB, history included"),
        format!("{per_object} B"),
        "-",
    );
    shutdown.trigger();
    running.await??;
    drop(store);
    let began = Instant::now();
    reopen(&dir.join("own")).await?;
    report.add(
        format!("restart with {objects} objects"),
        format!("{:.2?} to the first read and write", began.elapsed()),
        "-",
    );
    Ok(())
}

/// Opens the store again and proves that it works; the database closes a moment after the last user went.
async fn reopen(dir: &Path) -> Result<()> {
    let mut tries = 0;
    let (store, service) = loop {
        match store_raft::open(Options::single(dir), Clock::system(), Arc::new(Alone)).await {
            Ok(opened) => break opened,
            Err(e) if tries == 100 => return Err(e.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let shutdown = Shutdown::new();
    let running = tokio::spawn(service.run(shutdown.clone()));
    let span = Span::one(&key(0));
    let range = Range {
        span,
        at: None,
        limit: 1,
        consistency: Consistency::Linearizable,
    };
    if store.range(range).await?.records.len() != 1 {
        bail!("the restarted store has lost an object");
    }
    store.txn(&cluster(), put(0)).await?;
    shutdown.trigger();
    running.await??;
    Ok(())
}

/// 100 watchers of one kind, and a burst of changes; every watcher has to see every change, in order.
async fn watches(report: &mut Report, store: &Arc<dyn Store>) -> Result<()> {
    const WATCHERS: u64 = 100;
    let changes = report.scale(5_000);
    let span = Span::collection(&cluster(), "pods", None)?;
    let before = resident_of(None);
    let mut readers = Vec::new();
    for _ in 0..WATCHERS {
        let mut watch = store
            .watch(WatchRequest {
                span: span.clone(),
                from: None,
            })
            .await?;
        readers.push(tokio::spawn(async move {
            let (mut seen, mut last) = (0, 0);
            while seen < changes {
                match watch.messages.recv().await {
                    Some(WatchMessage::Events { revision, events }) if revision > last => {
                        seen += events.len() as u64;
                        last = revision;
                    }
                    Some(WatchMessage::Progress { .. }) => {}
                    other => bail!("a watch ended after {seen} changes: {other:?}"),
                }
            }
            Ok(())
        }));
    }
    let each = resident_of(None).saturating_sub(before) / WATCHERS;
    let usage = Usage::start();
    let writer = store.clone();
    let load = bench::run(16, changes, move |n| {
        let store = writer.clone();
        async move {
            let Ok(key) = Key::object(&cluster(), "pods", Some("bench"), &format!("pod-{n}")) else {
                return false;
            };
            let then = vec![Op::put(key, Bytes::from(vec![b'x'; VALUE]))];
            store
                .txn(
                    &cluster(),
                    Txn {
                        then,
                        ..Txn::default()
                    },
                )
                .await
                .is_ok()
        }
    })
    .await;
    if load.failed > 0 {
        bail!("{} changes failed", load.failed);
    }
    for reader in readers {
        reader.await??;
    }
    let deliveries = changes * WATCHERS;
    let rate = deliveries as f64 / usage.wall().as_secs_f64();
    let cost = usage.cpu() / u32::try_from(deliveries)?;
    let ours = format!(
        "{} deliveries, {cost:.2?} CPU each, writes included; {each} B a watch",
        per_second(rate)
    );
    report.add(
        "watch fan-out, 100 watchers, in process",
        ours,
        "25,000 deliveries/s, 42 us each (kube-apiserver)",
    );
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A server process that ends with its owner.
struct Server {
    process: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

async fn channels(url: &str) -> Result<Vec<Channel>> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut channels = Vec::new();
    while channels.len() < CONNECTIONS {
        match endpoint.connect().await {
            Ok(channel) => channels.push(channel),
            Err(e) if Instant::now() > deadline => return Err(e).context("the server does not come up"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    Ok(channels)
}

/// The same client on any etcd v3 endpoint; CPU is the server's.
async fn endpoint(report: &mut Report, server: &Server, name: &str, references: [&str; 4]) -> Result<()> {
    let stores: Vec<EtcdStore> = channels(&server.url)
        .await?
        .into_iter()
        .map(|c| EtcdStore::new(c, Layout::One(cluster())))
        .collect();
    let stores = Arc::new(stores);
    let pid = server.process.id();
    for (clients, total, reference) in [(1, 3_000, 0), (64, 40_000, 1), (1000, 60_000, 2)] {
        let (stores, usage) = (stores.clone(), Usage::start_of(pid));
        let load = bench::run(clients, report.scale(total), move |n| {
            let stores = stores.clone();
            async move {
                stores[n as usize % CONNECTIONS]
                    .txn(&cluster(), put(n))
                    .await
                    .is_ok()
            }
        })
        .await;
        let figure = format!("put 1 KiB, {clients} clients, {name}");
        report.add(figure, load.summary_with(usage.cpu()), references[reference]);
    }
    let (among, usage) = (report.scale(3_000), Usage::start_of(pid));
    let load = bench::run(64, report.scale(60_000), move |n| {
        let stores = stores.clone();
        let span = Span::one(&key(n * 7919 % among));
        let range = Range {
            span,
            at: None,
            limit: 1,
            consistency: Consistency::Linearizable,
        };
        async move {
            stores[n as usize % CONNECTIONS]
                .range(range)
                .await
                .is_ok_and(|r| r.records.len() == 1)
        }
    })
    .await;
    report.add(
        format!("get 1 KiB, linearizable, 64 clients, {name}"),
        load.summary_with(usage.cpu()),
        references[3],
    );
    report.add(
        format!("memory afterwards, {name}"),
        mib(resident_of(Some(pid))),
        "-",
    );
    Ok(())
}

async fn door(report: &mut Report, dir: &Path) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut process = command
        .arg("--serve")
        .arg(dir.join("door"))
        .stdout(Stdio::piped())
        .spawn()?;
    let out = process.stdout.take().context("the server has no output")?;
    let mut server = Server {
        process,
        url: String::new(),
    };
    BufReader::new(out).read_line(&mut server.url)?;
    server.url = server.url.trim().to_owned();
    let references = [
        "1,603/s, 0.5 / 3.6 ms, 345 us CPU (etcd)",
        "9,085/s, 5.6 / 22 ms, 73 us CPU (etcd)",
        "20,570/s, 43 / 97 ms, 53 us CPU (etcd)",
        "35,400/s, 1.6 / 5 ms, 30 us CPU (etcd)",
    ];
    endpoint(report, &server, "etcd door", references).await
}

/// The server's side: the store behind the etcd door, on a free port of the loopback, without TLS.
async fn serve(dir: PathBuf) -> Result<()> {
    let (store, service) = store_raft::open(Options::single(dir), Clock::system(), Arc::new(Alone)).await?;
    let shutdown = Shutdown::new();
    tokio::spawn(service.run(shutdown.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let connections = futures::stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            Ok(Io::new(stream, cluster()))
        });
        Some((accepted, listener))
    });
    etcd_door::serve(Arc::new(store), vec!["bench".into()], 4096, connections, shutdown).await?;
    Ok(())
}

async fn real_etcd(report: &mut Report, etcd: &Path, dir: &Path) -> Result<()> {
    // Two free ports; they could be taken in between, and then the start fails.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let (client, peer) = (format!("http://{}", free()?), format!("http://{}", free()?));
    let process = Command::new(etcd)
        .args(["--log-level", "error", "--data-dir"])
        .arg(dir.join("etcd"))
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .arg("--initial-cluster")
        .arg(format!("default={peer}"))
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", etcd.display()))?;
    let server = Server { process, url: client };
    endpoint(report, &server, "real etcd", ["-"; 4]).await
}
