//! API keys: 256 random bits, shown once, kept as a hash, bound to a project, always expiring.

use serde::{Deserialize, Serialize};

/// A key without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Public id: the part of the key before its secret.
    pub id: String,
    /// What it is for, in the user's words.
    pub description: String,
    /// The project it gives access to; `*` is every project (the operator's own).
    pub project: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339; refused from then on.
    pub expires_at: String,
}

/// Makes a key.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateApiKey {
    /// What it is for; at most 200 characters.
    #[serde(default)]
    pub description: String,
    /// Seconds until it expires: at least 60, at most a year. 90 days if absent.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
}

/// A key with its secret, which is never shown again.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedApiKey {
    /// The key's description.
    pub key: ApiKey,
    /// What goes into `Authorization: Bearer`: `mk_<id>_<secret>`.
    pub secret: String,
}
