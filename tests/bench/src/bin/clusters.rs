//! Clusters: how long one takes from the wish for it to its first object, and what many of them cost.
//!
//! A `marinad dev` of its own runs in a process beside, on a disk, with simulated machines; `--marinad PATH` says which one, else
//! it is looked for beside this program. What is timed is what a user waits for: `POST …/clusters`, the operation's end, a
//! kubeconfig, and a ConfigMap written through it over TLS. Memory is the proportional set size of the whole process
//! (`/proc/<pid>/smaps_rollup`), so what a cluster costs is the difference between two readings, divided.

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use bench::{Report, cpu_of};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long the process may take to be ready.
const START: Duration = Duration::from_secs(60);
/// How long idleness is watched.
const IDLE: Duration = Duration::from_secs(10);
/// Work that a creation leaves behind (log, compaction) may take so long before memory is read.
const SETTLE: Duration = Duration::from_secs(3);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut report = Report::from_args("clusters");
    let marinad = match report.args().value("--marinad") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("marinad"),
    };
    let dir = tempfile::tempdir()?;
    let server = Server::start(&marinad, dir.path())?;
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
    }
    report.add("create until usable", percentiles(&mut ready), "-");
    report.add(
        "create until the first ConfigMap",
        percentiles(&mut total),
        "p50 100ms (goal)",
    );

    let mut count = timed;
    for goal in [100, 500].map(|goal| report.scale(goal)) {
        let begin = server.settled().await?;
        let before = count;
        while count < goal {
            rest.create(&format!("more-{count}")).await?;
            count += 1;
        }
        let end = server.settled().await?;
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

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn percentiles(all: &mut [Duration]) -> String {
    all.sort();
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
    format!("p50 {:.0?} p99 {:.0?} ({} times)", at(0.5), at(0.99), all.len())
}

/// A process with its own state directory and ports; killed with this value.
struct Server {
    child: Child,
    rest_port: u16,
    config: PathBuf,
}

impl Server {
    fn start(marinad: &Path, dir: &Path) -> Result<Self> {
        let (rest_port, api_port) = (free_port()?, free_port()?);
        let config = dir.join("config.json");
        let mut child = Command::new(marinad)
            .args(["dev", "--no-local-cloud", "--state-dir"])
            .arg(dir.join("state"))
            .arg("--config")
            .arg(&config)
            .args([
                "--rest-port",
                &rest_port.to_string(),
                "--api-port",
                &api_port.to_string(),
            ])
            .env("MARINA_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {}; build it first (cargo build --release -p marinad)",
                    marinad.display()
                )
            })?;
        let out = child.stdout.take().context("its output is piped")?;
        let server = Self {
            child,
            rest_port,
            config,
        };
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line == "ready" {
                    // Nobody listens any more once the time is over.
                    let _late = said.send(());
                }
            }
        });
        heard.recv_timeout(START).context("marinad did not get ready")?;
        Ok(server)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn pss(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("Pss:"))
            .context("no line Pss")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    async fn settled(&self) -> Result<u64> {
        tokio::time::sleep(SETTLE).await;
        self.pss()
    }

    async fn rest(&self) -> Result<Http> {
        let config: Value = serde_json::from_slice(&std::fs::read(&self.config)?)?;
        let text = |name: &str| {
            config[name]
                .as_str()
                .map(str::to_owned)
                .context("the configuration is not complete")
        };
        let tls = pki::client_config(&text("caCertificate")?, None, &[b"http/1.1"])?;
        let key = Some(format!("Bearer {}", text("apiKey")?));
        Http::connect(&format!("127.0.0.1:{}", self.rest_port), tls, key).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already, or goes now; its directory goes with the benchmark's.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// One kept connection.
struct Http {
    sender: SendRequest<Full<Bytes>>,
    key: Option<String>,
}

impl Http {
    async fn connect(to: &str, tls: rustls::ClientConfig, key: Option<String>) -> Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let host = to.rsplit_once(':').map_or(to, |(host, _)| host).to_owned();
        let stream = TlsConnector::from(Arc::new(tls))
            .connect(host.try_into()?, stream)
            .await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, key })
    }

    async fn call(&mut self, method: Method, path: &str, body: Value) -> Result<Value> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "marina")
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", key);
        }
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.sender.ready().await?;
        let answer = self.sender.send_request(request.body(Full::from(body))?).await?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await?.to_bytes();
        ensure!(
            status.is_success(),
            "{path}: {status} {}",
            String::from_utf8_lossy(&bytes)
        );
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Makes a cluster and waits for the end of the operation, as the `marina` command does.
    async fn create(&mut self, name: &str) -> Result<()> {
        let path = "/v1/projects/default/clusters";
        let mut operation = self
            .call(Method::POST, path, json!({ "name": name, "cloud": "sim" }))
            .await?;
        loop {
            match operation["state"].as_str() {
                Some("succeeded") => return Ok(()),
                Some("running") => {}
                _ => bail!("cluster {name}: {operation}"),
            }
            let id = operation["id"].as_str().context("an operation without an id")?;
            let stage = operation["stage"]
                .as_str()
                .unwrap_or_default()
                .replace(' ', "%20");
            let path = format!("/v1/projects/default/operations/{id}?waitSeconds=30&stage={stage}");
            operation = self.call(Method::GET, &path, Value::Null).await?;
        }
    }
}

/// Writes a ConfigMap as a user would who has just asked for a kubeconfig.
async fn first_object(rest: &mut Http, name: &str) -> Result<()> {
    let path = format!("/v1/projects/default/clusters/{name}/kubeconfig?embed=true");
    let config = rest.call(Method::GET, &path, Value::Null).await?;
    let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
    let data = |value: &Value| -> Result<String> {
        Ok(String::from_utf8(
            BASE64_STANDARD.decode(value.as_str().context("no such data")?)?,
        )?)
    };
    let identity = pki::client_identity(
        &data(&user["client-certificate-data"])?,
        &data(&user["client-key-data"])?,
    )?;
    let tls = pki::client_config(
        &data(&cluster["certificate-authority-data"])?,
        Some(identity),
        &[b"http/1.1"],
    )?;
    let server = cluster["server"]
        .as_str()
        .and_then(|s| s.strip_prefix("https://"))
        .context("no server")?;
    let mut api = Http::connect(server, tls, None).await?;
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first"}, "data": {"a": "b"}});
    api.call(Method::POST, "/api/v1/namespaces/default/configmaps", object)
        .await?;
    Ok(())
}
