//! The types of Marina's REST API v1: what the CLI, the console, Terraform and any script exchange with the service.
//!
//! One file for each resource. Everything here is a promise to users: fields may be added, never renamed or removed.
//! Objects have a `spec` (what is wanted) and a `status` (what is seen); a change answers with an [`Operation`] that can be
//! watched until it is done.

pub mod api_key;
pub mod cluster;
pub mod error;
pub mod image;
pub mod name;
pub mod node_config;
pub mod node_pool;
pub mod operation;
pub mod project;

pub use api_key::{ApiKey, CreateApiKey, CreatedApiKey};
pub use cluster::{
    Cloud, Cluster, ClusterSpec, ClusterState, ClusterStatus, CreateCluster, Credential, SlotOwner, Version,
};
pub use error::{ErrorBody, ErrorCode};
pub use image::{Image, LoadedImages};
pub use name::{InvalidName, check_name};
pub use node_config::{NODE_CONFIG_VERSION, NodeConfig, NodeIdentity, NodeNetwork, ServerAddress};
pub use node_pool::{
    CreateNodePool, NodePool, NodePoolSpec, NodePoolState, NodePoolStatus, PoolNode, UpdateNodePool,
};
pub use operation::{Operation, OperationKind, OperationState};
pub use project::{CreateProject, Project};

use serde::{Deserialize, Serialize};

/// One page of a collection.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, ordered by name.
    pub items: Vec<T>,
    /// Give this as `pageToken` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// The header that makes a `POST` repeatable: two requests with the same value and the same body are one.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The largest page, and the one that is served without `pageSize`.
pub const MAX_PAGE: usize = 500;
