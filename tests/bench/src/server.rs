//! A `marinad dev` of a benchmark's own, in a process beside it, and the ways to its doors.
//!
//! It keeps its data on a disk below the benchmark's directory and has simulated machines only. What the load generator
//! uses is never in its figures, because it is another process. It is killed when its value is dropped.

use crate::report::Args;
use crate::usage::resident_of;
use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
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
use tokio_rustls::client::TlsStream;

/// How long the process may take to be ready.
const START: Duration = Duration::from_secs(60);

/// A process with its own state directory and ports; killed with this value.
pub struct Server {
    child: Child,
    rest_port: u16,
    config: PathBuf,
    ready_after: Duration,
}

impl Server {
    /// Starts it below `dir` and waits until every door is open. `--marinad PATH` says which program, else the one beside
    /// this benchmark; `more` are further options of `marinad dev`.
    pub fn start(args: &Args, dir: &Path, more: &[&str]) -> Result<Self> {
        let marinad = match args.value("--marinad") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe()?.with_file_name("marinad"),
        };
        let (rest_port, api_port) = (free_port()?, free_port()?);
        let config = dir.join("config.json");
        let began = Instant::now();
        let mut child = Command::new(&marinad)
            .args(["dev", "--no-local-cloud", "--state-dir"])
            .arg(dir.join("state"))
            .arg("--config")
            .arg(&config)
            .args(["--rest-port", &rest_port.to_string()])
            .args(["--api-port", &api_port.to_string()])
            .args(more)
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
        let mut server = Self {
            child,
            rest_port,
            config,
            ready_after: Duration::ZERO,
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
        server.ready_after = began.elapsed();
        Ok(server)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From its start until every door was open.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its proportional set size in bytes (`/proc/<pid>/smaps_rollup`): all of its memory, its program included.
    pub fn pss(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("Pss:"))
            .context("no line Pss")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Its memory in bytes that no file backs; cheap enough to be read every few milliseconds.
    pub fn resident(&self) -> u64 {
        resident_of(Some(self.pid()))
    }

    /// A connection to the REST API with the key of the default project.
    pub async fn rest(&self) -> Result<Http> {
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

/// TLS to `host:port`.
pub(crate) async fn tls(to: &str, config: rustls::ClientConfig) -> Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let host = to.rsplit_once(':').map_or(to, |(host, _)| host).to_owned();
    let connector = TlsConnector::from(Arc::new(config));
    Ok(connector.connect(host.try_into()?, stream).await?)
}

/// The whole answer; any other status than 2xx is an error.
pub(crate) async fn success(path: &str, answer: Response<Incoming>) -> Result<Bytes> {
    let status = answer.status();
    let bytes = answer.into_body().collect().await?.to_bytes();
    ensure!(
        status.is_success(),
        "{path}: {status} {}",
        String::from_utf8_lossy(&bytes)
    );
    Ok(bytes)
}

/// One kept HTTP/1.1 connection.
pub struct Http {
    sender: SendRequest<Full<Bytes>>,
    key: Option<String>,
}

impl Http {
    /// Connects to `host:port`; `key` is the value of each request's `Authorization`.
    pub async fn connect(to: &str, config: rustls::ClientConfig, key: Option<String>) -> Result<Self> {
        let stream = TokioIo::new(tls(to, config).await?);
        let (sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { sender, key })
    }

    /// One request with a JSON body (none for `null`) and its JSON answer; any other status than 2xx is an error.
    pub async fn call(&mut self, method: Method, path: &str, body: Value) -> Result<Value> {
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
        Ok(serde_json::from_slice(&success(path, answer).await?)?)
    }

    /// Makes a cluster and waits for the end of the operation, as the `marina` command does.
    pub async fn create(&mut self, name: &str) -> Result<()> {
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

    /// What the kubeconfig of a cluster says.
    pub async fn access(&mut self, name: &str) -> Result<Access> {
        let path = format!("/v1/projects/default/clusters/{name}/kubeconfig?embed=true");
        let config = self.call(Method::GET, &path, Value::Null).await?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let data = |value: &Value| -> Result<String> {
            let bytes = BASE64_STANDARD.decode(value.as_str().context("no such data")?)?;
            Ok(String::from_utf8(bytes)?)
        };
        let address = cluster["server"]
            .as_str()
            .and_then(|s| s.strip_prefix("https://"));
        Ok(Access {
            address: address.context("no server")?.to_owned(),
            ca: data(&cluster["certificate-authority-data"])?,
            certificate: data(&user["client-certificate-data"])?,
            key: data(&user["client-key-data"])?,
        })
    }
}

/// What a client needs to reach a cluster's API server.
#[derive(Clone)]
pub struct Access {
    /// `host:port`.
    pub address: String,
    ca: String,
    certificate: String,
    key: String,
}

impl Access {
    /// TLS settings with the user's certificate and one application protocol.
    pub fn tls(&self, protocol: &[u8]) -> Result<rustls::ClientConfig> {
        let identity = pki::client_identity(&self.certificate, &self.key)?;
        Ok(pki::client_config(&self.ca, Some(identity), &[protocol])?)
    }
}
