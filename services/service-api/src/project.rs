//! Projects: what clusters belong to and what API keys give access to.

use serde::{Deserialize, Serialize};

/// A project.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Unique in the service.
    pub name: String,
    /// RFC 3339.
    pub created_at: String,
}

/// Makes a project.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateProject {
    /// See [`crate::check_name`].
    pub name: String,
}
