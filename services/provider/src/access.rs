//! What the provider needs from the rest of the process, as interfaces: parts of one layer never depend on each other.

use async_trait::async_trait;
use auth::Cluster;
use base::ClusterId;
use service_api::Image;
use std::path::Path;
use std::sync::Arc;

/// Why a cluster could not be reached from inside.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AccessError(pub String);

/// Reaches into a cluster through its API server.
#[async_trait]
pub trait ClusterAccess: Send + Sync + 'static {
    /// Writes the objects every cluster begins with. Repeating it is harmless.
    async fn bootstrap(&self, cluster: &Arc<Cluster>) -> Result<(), AccessError>;
    /// The names of nodes that are Ready now.
    async fn ready_nodes(&self, cluster: &Arc<Cluster>) -> Result<Vec<String>, AccessError>;
    /// Deletes a Node object; harmless if it is not there.
    async fn delete_node(&self, cluster: &Arc<Cluster>, name: &str) -> Result<(), AccessError>;
    /// Drops what the process remembers of a cluster that is gone: its nodes' tunnels, its figures.
    fn forget(&self, cluster: &ClusterId);
}

/// A node that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its pool.
    pub pool: &'a str,
    /// Its zone.
    pub zone: &'a str,
    /// Its shape.
    pub instance_type: &'a str,
}

/// Makes what a machine is told at its first boot: identity, endpoint, keys.
pub trait NodeUserData: Send + Sync + 'static {
    /// The user data of one node.
    fn user_data(&self, cluster: &Cluster, node: &NewNode<'_>) -> Result<Vec<u8>, AccessError>;
}

/// Images that were loaded from files.
#[async_trait]
pub trait ImageStore: Send + Sync + 'static {
    /// Takes a file as `docker save` or OCI layout tar.
    async fn load(&self, archive: &Path) -> Result<Vec<Image>, AccessError>;
    /// What there is.
    async fn list(&self) -> Result<Vec<Image>, AccessError>;
}
