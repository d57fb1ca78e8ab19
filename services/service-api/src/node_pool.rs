//! Node pools: machines of one shape, spread over zones.

use serde::{Deserialize, Serialize};

/// The most nodes of one pool.
pub const MAX_NODES: u32 = 10_000;

/// A node pool.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePool {
    /// Unique in the cluster.
    pub name: String,
    /// The cluster.
    pub cluster: String,
    /// RFC 3339.
    pub created_at: String,
    /// What is wanted.
    pub spec: NodePoolSpec,
    /// What is.
    pub status: NodePoolStatus,
}

/// What is wanted of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolSpec {
    /// How many machines.
    pub nodes: u32,
    /// The cloud's name for their shape.
    pub instance_type: String,
    /// Zones they are spread over, evenly.
    pub zones: Vec<String>,
}

/// What is seen of a pool.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolStatus {
    /// The state.
    pub state: NodePoolState,
    /// Why, where the state needs a word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Machines that exist.
    pub machines: u32,
    /// Nodes that are Ready.
    pub ready: u32,
    /// One for each machine.
    #[serde(default)]
    pub nodes: Vec<PoolNode>,
}

/// A machine of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolNode {
    /// Its node name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// The cloud's id for the machine.
    pub instance: String,
    /// Its address, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether its node is Ready.
    pub ready: bool,
}

/// The life of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum NodePoolState {
    /// Machines are being made or taken away.
    Updating,
    /// As wanted.
    Active,
    /// Being taken away.
    Deleting,
    /// The cloud refuses; the message says why. It is tried again.
    Degraded,
}

/// Makes a pool.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateNodePool {
    /// See [`crate::check_name`].
    pub name: String,
    /// How many machines, at most [`MAX_NODES`].
    pub nodes: u32,
    /// `small` if absent.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// All zones of the cloud if absent.
    #[serde(default)]
    pub zones: Option<Vec<String>>,
}

/// Changes a pool.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateNodePool {
    /// How many machines.
    pub nodes: u32,
}
