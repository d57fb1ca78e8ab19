//! Serves the REST API over TLS.

use anyhow::Result;
use base::Shutdown;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 4096;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The TLS settings: the management cluster's own keys.
pub(crate) fn tls(keys: &pki::ClusterKeys) -> Result<rustls::ServerConfig> {
    let certified = keys.serving()?;
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts until shutdown.
pub(crate) async fn serve(
    socket: TcpListener,
    tls: rustls::ServerConfig,
    router: axum::Router,
    shutdown: Shutdown,
) {
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Some(accepted) = shutdown.run_until(socket.accept()).await {
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        let (acceptor, router, shutdown) = (acceptor.clone(), router.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _place = place;
            let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
                return;
            };
            let server = auto::Builder::new(TokioExecutor::new());
            let service = TowerToHyperService::new(router);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            // A broken connection is the client's affair.
            let _ended = shutdown.run_until(connection).await;
        });
    }
}
