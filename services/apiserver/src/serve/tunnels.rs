//! Nodes' tunnels on the listener: recognised by ALPN, named by the node's client certificate, and what comes out of one is
//! served like a connection of its own, for the tunnel's cluster and no other.

use super::{TlsConfigs, serve_http, tls};
use crate::pipeline::Connection;
use crate::{ApiServer, limits};
use async_trait::async_trait;
use base::{ClusterId, Shutdown};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tunnel::{BoxIo, Inbound, TunnelServer};

/// Serves what comes out of tunnels.
struct FromTunnel {
    server: ApiServer,
    configs: Arc<TlsConfigs>,
    shutdown: Shutdown,
}

#[async_trait]
impl Inbound for FromTunnel {
    async fn serve(&self, cluster: &ClusterId, io: BoxIo) {
        let Some(cluster) = self.server.directory().cluster(cluster) else {
            return;
        };
        // Clients inside a cluster connect by address or by the Service's name; the tunnel says which cluster it is.
        let handshake = tls::accept_for(&self.configs, &cluster, io);
        let accepted = match tokio::time::timeout(limits::HANDSHAKE, handshake).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => {
                tracing::debug!(cluster = %cluster.id, %error, "a TLS handshake in a tunnel failed");
                return;
            }
            Err(_elapsed) => return,
        };
        let connection = Connection {
            chain: accepted.chain,
            ..Connection::default()
        };
        serve_http(
            self.server.clone(),
            accepted.stream,
            cluster,
            connection,
            &self.shutdown,
        )
        .await;
    }
}

/// Serves a node's tunnel until it ends, if the certificate is a node's of this cluster.
pub(super) async fn serve<S>(
    tunnels: &TunnelServer,
    server: ApiServer,
    configs: Arc<TlsConfigs>,
    accepted: tls::Accepted<S>,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cluster = accepted.cluster;
    match tunnel::node_of(&cluster.keys, accepted.chain.certificates(), server.clock().now()) {
        Ok(node) => {
            let inbound = Arc::new(FromTunnel {
                server,
                configs,
                shutdown: shutdown.clone(),
            });
            tunnels
                .serve(
                    cluster.id.clone(),
                    node,
                    Box::new(accepted.stream),
                    inbound,
                    shutdown,
                )
                .await;
        }
        Err(error) => tracing::info!(cluster = %cluster.id, %error, "refused a tunnel"),
    }
}
