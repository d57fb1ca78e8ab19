//! Container images that were loaded from a file.

use serde::{Deserialize, Serialize};

/// An image that the nodes of the service's embedded cloud can run without a registry.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Its full reference, e.g. `docker.io/library/shop:v1`.
    pub reference: String,
    /// `sha256:…` of its manifest.
    pub digest: String,
}

/// The answer to loading a file.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadedImages {
    /// What the file held.
    pub images: Vec<Image>,
}
