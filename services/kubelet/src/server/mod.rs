//! The kubelet's own API on port 10250: logs, exec, attach, port-forward, pods, statistics.
//!
//! Only the control plane may use it: a client certificate of the cluster's CA is asked for, and without a permitted
//! one every path but `/healthz` answers 401 or 403. Streams are joined with the runtime's streaming server, which
//! speaks the same protocols, so nothing of them is understood here.

mod auth;
mod logs;
mod metrics;
mod stats;
mod streaming;
mod trace;

use crate::context::Context;
use crate::k8s::Pod;
use crate::manager::Manager;
use crate::node::facts::Machine;
use base::Shutdown;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use streams::upgrade::Body;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::Instrument;

/// Connections at the same time.
const MAX_CONNECTIONS: usize = 512;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long open requests may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(2);

/// Keys of the kubelet's API, all PEM.
#[derive(Clone)]
pub struct Tls {
    /// Certificate chain.
    pub cert_pem: Vec<u8>,
    /// Private key.
    pub key_pem: Vec<u8>,
    /// The CA of those who may ask.
    pub client_ca_pem: Vec<u8>,
    /// User names (common names) that may ask, besides members of `system:masters`.
    pub allowed_users: Vec<String>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("allowed_users", &self.allowed_users)
            .finish_non_exhaustive()
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("{address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The refusal.
        error: io::Error,
    },
    /// The keys do not fit.
    #[error("TLS: {0}")]
    Tls(String),
}

/// The API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    cx: Arc<Context>,
    manager: Manager,
    machine: Arc<Machine>,
}

fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(body(text));
    *response.status_mut() = status;
    response
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = answer(StatusCode::OK, bytes);
            let kind = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            response
        }
        Err(e) => answer(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

/// The parameters of a query, decoded, in order.
fn query(request: &http::request::Parts) -> Vec<(String, String)> {
    let text = request.uri.query().unwrap_or_default();
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|p| {
            let (key, value) = p.split_once('=').unwrap_or((p, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = || u8::from_str_radix(text.get(i + 1..i + 3)?, 16).ok();
        match bytes[i] {
            b'+' => out.push(b' '),
            b'%' => {
                if let Some(byte) = hex() {
                    out.push(byte);
                    i += 2;
                } else {
                    out.push(b'%');
                }
            }
            byte => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn first<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    query.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

fn flag(query: &[(String, String)], key: &str) -> bool {
    first(query, key).is_some_and(|v| v == "1" || v == "true")
}

impl Server {
    /// Over the pods of `manager`.
    pub fn new(cx: Arc<Context>, manager: Manager, machine: Arc<Machine>) -> Self {
        Self { cx, manager, machine }
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// If the address cannot be listened on or the keys do not fit.
    pub async fn run(self, address: SocketAddr, tls: Tls, shutdown: Shutdown) -> Result<(), ServerError> {
        let acceptor = TlsAcceptor::from(Arc::new(auth::server_config(&tls)?));
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| ServerError::Listen { address, error })?;
        let allowed = Arc::new(tls.allowed_users);
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Some(accepted) = shutdown.run_until(listener.accept()).await {
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, most likely: some will be freed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(slot) = slots.clone().try_acquire_owned() else {
                continue;
            };
            let (acceptor, this, allowed) = (acceptor.clone(), self.clone(), allowed.clone());
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let _slot = slot;
                let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
                    return;
                };
                let caller = auth::caller(stream.get_ref().1.peer_certificates());
                let service = hyper::service::service_fn(move |request| {
                    let (this, allowed, caller) = (this.clone(), allowed.clone(), caller.clone());
                    async move {
                        Ok::<_, std::convert::Infallible>(
                            this.serve(request, caller.as_ref(), &allowed).await,
                        )
                    }
                });
                let builder = Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                if let Err(error) = watcher.watch(connection.into_owned()).await {
                    tracing::debug!("connection ended: {error}");
                }
            });
        }
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::debug!("open requests were cut off");
        }
        Ok(())
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        caller: Option<&auth::Caller>,
        allowed: &[String],
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if path == "/healthz" {
            return answer(StatusCode::OK, "ok");
        }
        let Some(caller) = caller else {
            return answer(StatusCode::UNAUTHORIZED, "Unauthorized");
        };
        if !caller.may(allowed) {
            return answer(StatusCode::FORBIDDEN, format!("Forbidden (user={})", caller.user));
        }
        let parts: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let span = trace::span(request.method(), request.headers(), &parts);
        let answer = self.dispatch(request, &parts).instrument(span.clone()).await;
        trace::outcome(&span, answer.status());
        answer
    }

    async fn dispatch(&self, request: Request<Incoming>, parts: &[&str]) -> Response<Body> {
        let get = request.method() == Method::GET;
        match parts {
            ["pods" | "runningpods"] | ["pods", ""] if get => self.pods(),
            ["containerLogs", ns, pod, container] if get => {
                self.container_logs(ns, pod, container, request).await
            }
            ["metrics"] if get => metrics::kubelet(&self.cx, &self.manager).await,
            ["metrics", "resource"] if get => metrics::resource(&self.cx, &self.manager).await,
            ["metrics", "cadvisor" | "probes"] if get => metrics::empty(),
            ["stats", "summary"] if get => stats::summary(&self.cx, &self.machine).await,
            ["run", ns, pod, rest @ ..] if request.method() == Method::POST => {
                let (container, query) = (
                    rest.last().copied().unwrap_or_default().to_owned(),
                    query(&request.into_parts().0),
                );
                self.run_command(ns, pod, &container, &query).await
            }
            ["exec", ns, pod, rest @ ..] => {
                self.exec(ns, pod, rest.last().copied().unwrap_or_default(), request)
                    .await
            }
            ["attach", ns, pod, rest @ ..] => {
                self.attach(ns, pod, rest.last().copied().unwrap_or_default(), request)
                    .await
            }
            ["portForward", ns, pod] | ["portForward", ns, pod, _] => {
                self.port_forward(ns, pod, request).await
            }
            _ => answer(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    fn pods(&self) -> Response<Body> {
        let items: Vec<Pod> = self
            .manager
            .pods()
            .into_iter()
            .map(|p| {
                let mut pod = (*p).clone();
                if let Some(status) = self.cx.status.get(crate::k8s::uid(&pod.metadata)) {
                    pod.status = Some(status);
                }
                pod
            })
            .collect();
        json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    /// A pod and the newest or previous instance of one of its containers.
    async fn instance(
        &self,
        ns: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<(Arc<Pod>, crate::observed::Instance), Response<Body>> {
        let not_found = |what: String| answer(StatusCode::NOT_FOUND, what);
        let found = self
            .manager
            .find(ns, pod)
            .ok_or_else(|| not_found(format!("pod \"{pod}\" not found")))?;
        let uid = crate::k8s::uid(&found.metadata);
        let observed = self.cx.engine.observe(uid, &Default::default()).await;
        let observed =
            observed.map_err(|s| answer(StatusCode::INTERNAL_SERVER_ERROR, s.message().to_owned()))?;
        if crate::config::container::find(&found, container).is_none() {
            return Err(not_found(format!("container {container} not found in pod {pod}")));
        }
        let instance = observed.of(container).nth(usize::from(previous)).cloned();
        let instance = instance.ok_or_else(|| {
            let what = if previous {
                "previous terminated container"
            } else {
                "container"
            };
            let text = format!("{what} \"{container}\" in pod \"{pod}\" not found");
            answer(StatusCode::BAD_REQUEST, text)
        })?;
        Ok((found, instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_in_order() {
        let request = Request::get("/exec/a/b?command=sh&command=-c&command=echo%20a%2Bb+c&tty=1&x")
            .body(())
            .unwrap();
        let q = query(&request.into_parts().0);
        let commands: Vec<_> = q
            .iter()
            .filter(|(k, _)| k == "command")
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(commands, ["sh", "-c", "echo a+b c"]);
        assert!(flag(&q, "tty") && !flag(&q, "x") && first(&q, "nope").is_none());
        assert_eq!(decode("%zz%4"), "%zz%4");
    }
}
