//! Asking a container once: a command, HTTP, a TCP connection or gRPC. Also runs lifecycle hooks, which are the same.

use super::{Target, grpc, http};
use crate::engine::Engine;
use crate::k8s::{Container, HTTPGetAction, IntOrString, Probe};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// What may stand in a failure's text, bytes.
const MAX_OUTPUT: usize = 10 * 1024;

/// Asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Asker {
    engine: Engine,
}

/// The number of a port given by number or by name.
pub fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(n) => *n,
        IntOrString::String(name) => match container
            .ports
            .iter()
            .flatten()
            .find(|p| p.name.as_ref() == Some(name))
        {
            Some(p) => p.container_port,
            None => name.parse().ok()?,
        },
    };
    u16::try_from(number).ok().filter(|p| *p > 0)
}

fn address(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{host}:{port}"),
    }
}

impl Asker {
    /// Runs commands through `engine`.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// One question. The error says what was wrong.
    pub async fn ask(&self, probe: &Probe, target: &Target) -> Result<(), String> {
        let limit = probe
            .timeout_seconds
            .and_then(|t| u64::try_from(t).ok())
            .filter(|t| *t > 0)
            .unwrap_or(1);
        let limit = Duration::from_secs(limit);
        let work = async {
            if let Some(exec) = &probe.exec {
                self.exec(&target.instance, exec.command.clone().unwrap_or_default(), limit)
                    .await
                    .map(drop)
            } else if let Some(get) = &probe.http_get {
                http_get(get, &target.container, &target.pod_ip, "kube-probe/1.37").await
            } else if let Some(tcp) = &probe.tcp_socket {
                let number = port(&tcp.port, &target.container).ok_or("unknown port")?;
                let host = tcp
                    .host
                    .as_deref()
                    .filter(|h| !h.is_empty())
                    .unwrap_or(&target.pod_ip);
                let to = address(host, number);
                TcpStream::connect(&to)
                    .await
                    .map(drop)
                    .map_err(|e| format!("dial tcp {to}: {e}"))
            } else if let Some(rpc) = &probe.grpc {
                let number = u16::try_from(rpc.port).map_err(|_| "bad port".to_owned())?;
                grpc::check(
                    &address(&target.pod_ip, number),
                    rpc.service.as_deref().unwrap_or_default(),
                )
                .await
            } else {
                Err("missing probe handler".to_owned())
            }
        };
        // An exec is ended by the runtime; a little more time lets its own error come through.
        let outer = if probe.exec.is_some() {
            limit + Duration::from_secs(1)
        } else {
            limit
        };
        match tokio::time::timeout(outer, work).await {
            Ok(result) => result,
            Err(_) => Err(format!(
                "context deadline exceeded (timeout of {}s)",
                limit.as_secs()
            )),
        }
    }

    /// Runs a command to its end; its output if it succeeded.
    pub async fn exec(
        &self,
        instance: &str,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<String, String> {
        let (code, out, err) = self
            .engine
            .exec(instance, command.clone(), limit)
            .await
            .map_err(|s| {
                if s.code() == tonic::Code::DeadlineExceeded {
                    format!(
                        "command timed out: {:?} timed out after {}s",
                        command.join(" "),
                        limit.as_secs()
                    )
                } else {
                    s.message().to_owned()
                }
            })?;
        let mut text = String::from_utf8_lossy(&out[..out.len().min(MAX_OUTPUT)]).into_owned();
        text.push_str(&String::from_utf8_lossy(&err[..err.len().min(MAX_OUTPUT)]));
        if code == 0 { Ok(text) } else { Err(text) }
    }
}

/// One HTTP request to a container; any status from 200 to 399 is good.
pub async fn http_get(
    get: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    agent: &str,
) -> Result<(), String> {
    let number = port(&get.port, container).ok_or("unknown port")?;
    let host = get.host.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod_ip);
    let tls = get.scheme.as_deref() == Some("HTTPS");
    let headers: Vec<(String, String)> = get
        .http_headers
        .iter()
        .flatten()
        .map(|h| (h.name.clone(), h.value.clone()))
        .collect();
    let path = get.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    http::get(&address(host, number), host, tls, path, &headers, agent).await
}
