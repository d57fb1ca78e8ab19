//! The listening side: TLS, one cluster for each connection, limits.

use crate::identity::cluster_of;
use crate::watch::WatchDoor;
use base::{ClusterId, Shutdown};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use store_api::Store;
use store_etcd::proto::etcdserverpb as pb;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, Server};
use tonic::{Request, Status};

/// Connections whose TLS is being set up.
const HANDSHAKES: usize = 64;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that wait for the server.
const ACCEPTED: usize = 64;
/// Bytes of one request; etcd allows 1.5 MiB of values and some more around them.
const REQUEST: usize = 8 << 20;

/// How the door is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The door's certificate chain, DER.
    pub chain: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// Its key.
    pub key: Arc<rustls::pki_types::PrivateKeyDer<'static>>,
    /// The authorities that clients' certificates come from. They issue certificates for this door alone.
    pub client_authorities: RootCertStore,
    /// Where clients reach the door, for `MemberList`.
    pub urls: Vec<String>,
    /// Streams of one connection.
    pub streams: u32,
}

/// Why the door could not be built, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The certificates are of no use.
    #[error("the etcd door's certificates: {0}")]
    Tls(String),
    /// The listener failed.
    #[error("the etcd door: {0}")]
    Io(#[from] io::Error),
    /// The server failed.
    #[error("the etcd door: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Whose connection it is: every call finds it among its extensions.
#[derive(Clone, Debug)]
pub struct Tenant(pub ClusterId);

/// A connection of one cluster.
#[derive(Debug)]
pub struct Io<T> {
    inner: T,
    tenant: Tenant,
}

impl<T> Io<T> {
    /// The caller vouches for the cluster.
    pub fn new(inner: T, cluster: ClusterId) -> Self {
        Self {
            inner,
            tenant: Tenant(cluster),
        }
    }
}

impl<T> Connected for Io<T> {
    type ConnectInfo = Tenant;
    fn connect_info(&self) -> Tenant {
        self.tenant.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Io<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Io<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// What the calls share.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) urls: Arc<[String]>,
}

impl Door {
    pub(crate) fn cluster<T>(&self, request: &Request<T>) -> Result<ClusterId, Status> {
        let tenant = request.extensions().get::<Tenant>();
        tenant
            .map(|t| t.0.clone())
            .ok_or_else(|| Status::unauthenticated("the connection belongs to no cluster"))
    }

    pub(crate) fn header(&self, cluster: &ClusterId, revision: i64) -> Option<pb::ResponseHeader> {
        let cluster_id = crate::convert::number(cluster);
        Some(pb::ResponseHeader {
            cluster_id,
            member_id: 1,
            revision,
            raft_term: 1,
        })
    }
}

/// A door that listens.
pub struct Service {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    store: Arc<dyn Store>,
    urls: Vec<String>,
    streams: u32,
}

impl Options {
    /// Builds the door on a listener.
    pub fn build(self, store: Arc<dyn Store>, listener: TcpListener) -> Result<Service, RunError> {
        let tls = |e: &dyn std::fmt::Display| RunError::Tls(e.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.client_authorities), provider.clone())
                .build()
                .map_err(|e| tls(&e))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| tls(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain, self.key.clone_key())
            .map_err(|e| tls(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Service {
            listener,
            acceptor,
            store,
            urls: self.urls,
            streams: self.streams,
        })
    }
}

impl Service {
    /// Where it listens.
    pub fn address(&self) -> io::Result<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is told to stop.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RunError> {
        let (accepted, connections) = mpsc::channel(ACCEPTED);
        let accept = accept(self.listener, self.acceptor, accepted);
        let serve = serve(
            self.store,
            self.urls,
            self.streams,
            ReceiverStream::new(connections),
            shutdown.clone(),
        );
        tokio::select! {
            result = serve => result,
            never = accept => match never {},
        }
    }
}

/// Serves connections that already belong to a cluster, until it is told to stop.
pub async fn serve<T, S>(
    store: Arc<dyn Store>,
    urls: Vec<String>,
    streams: u32,
    connections: S,
    shutdown: Shutdown,
) -> Result<(), RunError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Stream<Item = io::Result<Io<T>>> + Send,
{
    let door = Door {
        store,
        urls: urls.into(),
    };
    let watch = WatchDoor {
        door: door.clone(),
        shutdown: shutdown.clone(),
    };
    Server::builder()
        .max_concurrent_streams(streams)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(pb::kv_server::KvServer::new(door.clone()).max_decoding_message_size(REQUEST))
        .add_service(pb::watch_server::WatchServer::new(watch).max_decoding_message_size(REQUEST))
        .add_service(pb::lease_server::LeaseServer::new(door.clone()).max_decoding_message_size(REQUEST))
        .add_service(pb::cluster_server::ClusterServer::new(door.clone()))
        .add_service(pb::maintenance_server::MaintenanceServer::new(door.clone()))
        .add_service(pb::auth_server::AuthServer::new(door))
        .serve_with_incoming_shutdown(connections, async move { shutdown.triggered().await })
        .await?;
    Ok(())
}

enum Never {}

/// Accepts connections, several handshakes at a time. What fails concerns one client and is only logged.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    accepted: mpsc::Sender<io::Result<Io<tokio_rustls::server::TlsStream<TcpStream>>>>,
) -> Never {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let permit = handshakes.clone().acquire_owned().await;
        let (stream, peer) = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match tokio::time::timeout(HANDSHAKE, identify(acceptor, stream)).await {
                // Sending fails only when the server has stopped.
                Ok(Ok(io)) => drop(accepted.send(Ok(io)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a client was turned away"),
                Err(_) => tracing::debug!(%peer, "a client took too long to introduce itself"),
            }
        });
    }
}

async fn identify(
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> io::Result<Io<tokio_rustls::server::TlsStream<TcpStream>>> {
    stream.set_nodelay(true)?;
    let tls = acceptor.accept(stream).await?;
    let certificate = tls
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let certificate = certificate.ok_or_else(|| io::Error::other("no client certificate"))?;
    let cluster = cluster_of(certificate).map_err(io::Error::other)?;
    Ok(Io::new(tls, cluster))
}
