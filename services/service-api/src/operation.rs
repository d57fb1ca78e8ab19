//! Operations: what a change answers with, to be watched until it is done.

use serde::{Deserialize, Serialize};

/// A change in progress, or done. Kept for a day after it ended.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Unique; ordered by time.
    pub id: String,
    /// What is done.
    pub kind: OperationKind,
    /// To what: `<cluster>` or `<cluster>/<node pool>`.
    pub target: String,
    /// The project.
    pub project: String,
    /// How it stands.
    pub state: OperationState,
    /// What is being done now, for people.
    pub stage: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OperationKind {
    /// Makes a cluster.
    CreateCluster,
    /// Takes a cluster away.
    DeleteCluster,
    /// Makes a node pool.
    CreateNodePool,
    /// Changes its size.
    ResizeNodePool,
    /// Takes it away.
    DeleteNodePool,
}

/// How an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OperationState {
    /// Going on.
    Running,
    /// Done.
    Succeeded,
    /// Given up.
    Failed,
}

impl OperationState {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        self != Self::Running
    }
}
