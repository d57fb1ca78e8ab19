//! How the provider reaches into clusters: through the API server in this process.

use api::k8s_openapi::api::core::v1::Node;
use apiserver::bootstrap::BootstrapOptions;
use apiserver::{ApiServer, InProcess};
use async_trait::async_trait;
use auth::{Cluster, User};
use base::ClusterId;
use client::{Api, Client, DeleteParams, ListParams};
use provider::{AccessError, ClusterAccess};
use std::net::SocketAddr;
use std::sync::Arc;
use tunnel::TunnelServer;

/// See the module.
pub(crate) struct ThroughApiServer {
    pub(crate) server: ApiServer,
    /// The ways to its nodes.
    pub(crate) tunnels: TunnelServer,
    /// Where the `kubernetes` Service leads to inside clusters: an address that each node binds to its tunnel.
    pub(crate) endpoint: SocketAddr,
}

fn failed(error: impl std::fmt::Display) -> AccessError {
    AccessError(error.to_string())
}

impl ThroughApiServer {
    fn nodes(&self, cluster: &Cluster) -> Api<Node> {
        let mut user = User::in_process("system:marina:provider");
        user.groups.push(auth::user::MASTERS.into());
        let transport = InProcess::new(self.server.clone(), cluster.id.clone(), user);
        Api::all(&Client::new(Arc::new(transport)).with_user_agent("marina-provider"))
    }
}

#[async_trait]
impl ClusterAccess for ThroughApiServer {
    async fn bootstrap(&self, cluster: &Arc<Cluster>) -> Result<(), AccessError> {
        let options = BootstrapOptions {
            endpoint: Some((self.endpoint.ip(), self.endpoint.port())),
        };
        self.server
            .bootstrap(cluster, options)
            .await
            .map(|_| ())
            .map_err(failed)
    }

    async fn ready_nodes(&self, cluster: &Arc<Cluster>) -> Result<Vec<String>, AccessError> {
        let list = self
            .nodes(cluster)
            .list(&ListParams::default())
            .await
            .map_err(failed)?;
        let ready = |node: &Node| {
            let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
            conditions
                .into_iter()
                .any(|c| c.type_ == "Ready" && c.status == "True")
        };
        Ok(list
            .items
            .into_iter()
            .filter(ready)
            .filter_map(|n| n.metadata.name)
            .collect())
    }

    async fn delete_node(&self, cluster: &Arc<Cluster>, name: &str) -> Result<(), AccessError> {
        match self.nodes(cluster).delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn forget(&self, cluster: &ClusterId) {
        self.tunnels.disconnect(cluster);
        self.server.forget(cluster);
    }
}
