//! Exec, attach and port-forward: the runtime gives a URL of its streaming server on this node, and the connection is
//! joined with it. `run` waits for a command's end instead.

use super::{Server, answer, first, flag, query};
use cri::v1::{AttachRequest, ExecRequest, PortForwardRequest};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use std::time::Duration;
use streams::upgrade::{self, Body};
use tokio::net::TcpStream;

/// How long a command given to `run` may take.
const RUN_LIMIT: Duration = Duration::from_secs(120);

fn failed(status: &tonic::Status) -> Response<Body> {
    answer(StatusCode::INTERNAL_SERVER_ERROR, status.message().to_owned())
}

impl Server {
    pub(super) async fn exec(
        &self,
        ns: &str,
        pod: &str,
        container: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let query = query(&parts);
        let container = if container.is_empty() {
            first(&query, "container").unwrap_or_default()
        } else {
            container
        };
        let id = match self.running(ns, pod, container).await {
            Ok(id) => id,
            Err(response) => return response,
        };
        let cmd: Vec<String> = query
            .iter()
            .filter(|(k, _)| k == "command")
            .map(|(_, v)| v.clone())
            .collect();
        let tty = flag(&query, "tty");
        let message = ExecRequest {
            container_id: id,
            cmd,
            tty,
            stdin: flag(&query, "input") || flag(&query, "stdin"),
            stdout: flag(&query, "output") || flag(&query, "stdout"),
            // With a terminal there is one stream out.
            stderr: !tty && (flag(&query, "error") || flag(&query, "stderr")),
        };
        match self.cx.engine.exec_url(message).await {
            Ok(url) => join(Request::from_parts(parts, body), &url).await,
            Err(status) => failed(&status),
        }
    }

    pub(super) async fn attach(
        &self,
        ns: &str,
        pod: &str,
        container: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let query = query(&parts);
        let container = if container.is_empty() {
            first(&query, "container").unwrap_or_default()
        } else {
            container
        };
        let id = match self.running(ns, pod, container).await {
            Ok(id) => id,
            Err(response) => return response,
        };
        let spec = self
            .manager
            .find(ns, pod)
            .and_then(|p| crate::config::container::find(&p, container));
        let tty = spec.and_then(|c| c.tty).unwrap_or(false);
        let message = AttachRequest {
            container_id: id,
            tty,
            stdin: flag(&query, "input") || flag(&query, "stdin"),
            stdout: flag(&query, "output") || flag(&query, "stdout"),
            stderr: !tty && (flag(&query, "error") || flag(&query, "stderr")),
        };
        match self.cx.engine.attach_url(message).await {
            Ok(url) => join(Request::from_parts(parts, body), &url).await,
            Err(status) => failed(&status),
        }
    }

    pub(super) async fn port_forward(
        &self,
        ns: &str,
        pod: &str,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let query = query(&parts);
        let Some(found) = self.manager.find(ns, pod) else {
            return answer(StatusCode::NOT_FOUND, format!("pod \"{pod}\" not found"));
        };
        let uid = crate::k8s::uid(&found.metadata);
        let sandboxes = match self.cx.engine.sandboxes(Some(uid)).await {
            Ok(sandboxes) => sandboxes,
            Err(status) => return failed(&status),
        };
        let ready = cri::v1::PodSandboxState::SandboxReady as i32;
        let Some(sandbox) = sandboxes
            .into_iter()
            .filter(|s| s.state == ready)
            .max_by_key(|s| s.created_at)
        else {
            return answer(StatusCode::BAD_REQUEST, format!("pod \"{pod}\" is not running"));
        };
        // Ports are named by SPDY streams, or by a WebSocket client in the query.
        let ports = query.iter().filter(|(k, _)| k == "port" || k == "ports");
        let ports = ports
            .flat_map(|(_, v)| v.split(','))
            .filter_map(|p| p.parse().ok());
        let message = PortForwardRequest {
            pod_sandbox_id: sandbox.id,
            port: ports.collect(),
        };
        match self.cx.engine.port_forward_url(message).await {
            Ok(url) => join(Request::from_parts(parts, body), &url).await,
            Err(status) => failed(&status),
        }
    }

    pub(super) async fn run_command(
        &self,
        ns: &str,
        pod: &str,
        container: &str,
        query: &[(String, String)],
    ) -> Response<Body> {
        let id = match self.running(ns, pod, container).await {
            Ok(id) => id,
            Err(response) => return response,
        };
        let command = first(query, "cmd")
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        match self.cx.engine.exec(&id, command, RUN_LIMIT).await {
            Ok((0, mut out, err)) => {
                out.extend_from_slice(&err);
                answer(StatusCode::OK, out)
            }
            Ok((code, out, err)) => {
                let text = format!(
                    "command exited with {code}: {}{}",
                    String::from_utf8_lossy(&out),
                    String::from_utf8_lossy(&err)
                );
                answer(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
            Err(status) => failed(&status),
        }
    }

    /// The runtime's id of a running container.
    async fn running(&self, ns: &str, pod: &str, container: &str) -> Result<String, Response<Body>> {
        let (_, instance) = self.instance(ns, pod, container, false).await?;
        if instance.running() {
            Ok(instance.id)
        } else {
            let text = format!("container {container} of pod {pod} is not running");
            Err(answer(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Joins the caller's connection with the runtime's streaming server.
async fn join(request: Request<Incoming>, url: &str) -> Response<Body> {
    let bad = |e: &dyn std::fmt::Display| {
        answer(
            StatusCode::BAD_GATEWAY,
            format!("the runtime's streaming server: {e}"),
        )
    };
    let uri: Uri = match url.parse() {
        Ok(uri) => uri,
        Err(e) => return bad(&e),
    };
    let host = uri.authority().map(|a| a.as_str().to_owned()).unwrap_or_default();
    let stream = match TcpStream::connect(&host).await {
        Ok(stream) => stream,
        Err(e) => return bad(&e),
    };
    match upgrade::pass_on(request, &uri, &host, Box::new(stream)).await {
        Ok(response) => response,
        Err(e) => bad(&e),
    }
}
