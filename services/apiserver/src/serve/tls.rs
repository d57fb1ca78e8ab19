//! TLS: which cluster a connection is for, and that cluster's certificate.
//!
//! Client certificates are asked for and not required; TLS checks possession of the key and nothing else. No session is ever
//! resumed (`pki::server_config`), so nothing of one cluster's connection can be taken to another's.

use auth::{Cluster, Directory};
use base::ClusterId;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// Clusters whose settings are kept; a lost entry costs a few microseconds.
const MAX: usize = 1024;
/// A fatal alert `unrecognized_name` (RFC 6066), in the clear since nothing is encrypted yet.
const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70];

/// A connection after its handshake.
pub(super) struct Accepted<S> {
    pub(super) stream: TlsStream<S>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) chain: Arc<auth::Chain>,
}

/// Settings, and the keys that they were made of: others, and the settings are stale.
type MadeOf = (Weak<pki::ClusterKeys>, Arc<ServerConfig>);

/// TLS settings of clusters that were used lately.
#[derive(Default)]
pub struct TlsConfigs(Mutex<HashMap<ClusterId, MadeOf>>);

/// One certificate, whatever the client asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl TlsConfigs {
    /// The settings of a cluster, made anew when its keys were replaced.
    pub fn get(&self, cluster: &Cluster) -> io::Result<Arc<ServerConfig>> {
        if let Some((keys, config)) = self.0.lock().get(&cluster.id)
            && std::ptr::eq(keys.as_ptr(), Arc::as_ptr(&cluster.keys))
        {
            return Ok(config.clone());
        }
        let serving = cluster.keys.serving().map_err(io::Error::other)?;
        let config = pki::server_config(Arc::new(Always(serving)), &[b"h2", b"http/1.1", tunnel::ALPN])
            .map_err(io::Error::other)?;
        let config = Arc::new(config);
        let mut all = self.0.lock();
        if all.len() >= MAX {
            all.clear();
        }
        all.insert(
            cluster.id.clone(),
            (Arc::downgrade(&cluster.keys), config.clone()),
        );
        Ok(config)
    }
}

/// Reads the client's hello, finds its cluster, and finishes the handshake.
pub(super) async fn accept<S>(
    configs: &TlsConfigs,
    directory: &dyn Directory,
    stream: S,
    local: Option<IpAddr>,
) -> io::Result<Accepted<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let name = start.client_hello().server_name().map(str::to_owned);
    let cluster = match &name {
        Some(name) => directory.by_server_name(name).or_else(|| {
            // In-cluster clients use the Service's name; the address then says which cluster.
            let inside = name.starts_with("kubernetes") || name == "localhost";
            inside
                .then(|| local.and_then(|ip| directory.by_address(ip)))
                .flatten()
        }),
        None => local.and_then(|ip| directory.by_address(ip)),
    };
    let Some(cluster) = cluster else {
        start.io.write_all(&UNRECOGNIZED_NAME).await?;
        start.io.shutdown().await?;
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no cluster is called {name:?} at {local:?}"),
        ));
    };
    finish(configs, cluster, start).await
}

/// Finishes the handshake for a cluster that is known already, whatever name the client asks for.
pub(super) async fn accept_for<S>(
    configs: &TlsConfigs,
    cluster: &Arc<Cluster>,
    stream: S,
) -> io::Result<Accepted<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    finish(configs, cluster.clone(), start).await
}

async fn finish<S>(
    configs: &TlsConfigs,
    cluster: Arc<Cluster>,
    start: tokio_rustls::StartHandshake<S>,
) -> io::Result<Accepted<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = start.into_stream(configs.get(&cluster)?).await?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates: Vec<_> = certificates.iter().map(|c| c.clone().into_owned()).collect();
    Ok(Accepted {
        stream,
        cluster,
        chain: Arc::new(certificates.into()),
    })
}
