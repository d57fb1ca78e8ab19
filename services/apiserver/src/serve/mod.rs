//! The listener: TLS for every cluster on one socket, HTTP/1.1 and HTTP/2.
//!
//! The cluster comes from the TLS server name, or from the destination address when a client sends none. A name that is no
//! cluster's is refused with the alert `unrecognized_name`. One task for each connection, none for each cluster.

mod tls;
mod tunnels;

use crate::pipeline::Connection;
use crate::{ApiServer, Body, encode, limits};
use base::Shutdown;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use tls::TlsConfigs;
use tunnel::TunnelServer;

/// Connections of one listener at a time.
const MAX_CONNECTIONS: u32 = 50_000;
/// How long open requests may take after a stop was asked for.
const DRAIN: Duration = Duration::from_secs(20);

/// An API server behind a listening socket.
pub struct Listener {
    server: ApiServer,
    socket: TcpListener,
    configs: Arc<TlsConfigs>,
    only_at: Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>,
    tunnels: Option<TunnelServer>,
}

impl Listener {
    /// Serves `server` on a socket that listens already.
    pub fn new(server: ApiServer, socket: TcpListener) -> Self {
        Self {
            server,
            socket,
            configs: Arc::new(TlsConfigs::default()),
            only_at: None,
            tunnels: None,
        }
    }

    /// Accepts nodes' tunnels too (ALPN `marina-tunnel/1`), and registers them here.
    pub fn tunnels(mut self, tunnels: TunnelServer) -> Self {
        self.tunnels = Some(tunnels);
        self
    }

    /// Turns away connections that came to an address for which `allowed` is false: for a socket that had to be bound
    /// to all addresses, because a range of them cannot be bound.
    pub fn only_at(mut self, allowed: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        self.only_at = Some(Arc::new(allowed));
        self
    }

    /// Accepts connections until the stop; then waits for open requests, watches being ended at once.
    pub async fn run(self, shutdown: Shutdown) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = shutdown.triggered() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: give connections time to end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                tracing::warn!(%peer, "too many connections");
                continue;
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            let local = stream.local_addr().ok();
            if let (Some(allowed), Some(local)) = (&self.only_at, local)
                && !allowed(local.ip())
            {
                tracing::debug!(%peer, %local, "a connection to an address that is not served");
                continue;
            }
            let (server, configs) = (self.server.clone(), self.configs.clone());
            let (tunnels, shutdown) = (self.tunnels.clone(), shutdown.clone());
            tokio::spawn(async move {
                let _place = place;
                let door = Door {
                    server,
                    configs,
                    tunnels,
                    shutdown,
                };
                serve_tls(door, stream, peer, local).await;
            });
        }
        drop(self.socket);
        // Every connection holds a place until it has ended.
        let ended = places.acquire_many(MAX_CONNECTIONS);
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }
}

/// What a connection needs of its listener.
struct Door {
    server: ApiServer,
    configs: Arc<TlsConfigs>,
    tunnels: Option<TunnelServer>,
    shutdown: Shutdown,
}

async fn serve_tls<S>(door: Door, stream: S, peer: SocketAddr, local: Option<SocketAddr>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Door {
        server,
        configs,
        tunnels,
        shutdown,
    } = door;
    let handshake = tls::accept(
        &configs,
        server.directory().as_ref(),
        stream,
        local.map(|l| l.ip()),
    );
    let accepted = match tokio::time::timeout(limits::HANDSHAKE, handshake).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            return;
        }
        Err(_elapsed) => return,
    };
    if accepted.stream.get_ref().1.alpn_protocol() == Some(tunnel::ALPN) {
        if let Some(tunnels) = tunnels {
            tunnels::serve(&tunnels, server, configs, accepted, &shutdown).await;
        }
        return;
    }
    let connection = Connection {
        peer: Some(peer),
        chain: accepted.chain,
        ..Connection::default()
    };
    serve_http(server, accepted.stream, accepted.cluster, connection, &shutdown).await;
}

/// Serves HTTP on a stream whose cluster and peer are known: behind TLS, or from a tunnel. At the stop it takes no new
/// request and ends with the last open one.
pub async fn serve_http<S>(
    server: ApiServer,
    stream: S,
    cluster: Arc<auth::Cluster>,
    connection: Connection,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let id = cluster.id.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (server, connection, id) = (server.clone(), connection.clone(), id.clone());
        async move {
            // The cluster may have changed, or gone, since the connection was made.
            let Some(cluster) = server.directory().cluster(&id) else {
                return Ok::<_, Infallible>(encode::text(404, "404 page not found\n"));
            };
            let request = request.map(|body| -> Body { body.map_err(std::io::Error::other).boxed_unsync() });
            Ok(server.handle(cluster, &connection, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEAD)
        .max_buf_size(limits::MAX_HEADERS * 2)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_header_list_size(u32::try_from(limits::MAX_HEADERS).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(Some(64))
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(30));
    let served = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned();
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.triggered() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}
