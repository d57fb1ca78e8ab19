//! Images that instances boot from.

use crate::{Result, Token};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The cloud's own id.
    pub id: String,
    /// Its name, unique in the account.
    pub name: String,
    /// Whether instances can be created from it already.
    pub ready: bool,
}

/// Images that instances boot from.
#[async_trait]
pub trait Images: Send + Sync {
    /// All images of the account, ordered by name.
    async fn list(&self) -> Result<Vec<Image>>;

    /// Brings an image that `node-image/` built (a root filesystem's directory or a disk, as the cloud needs) into the
    /// account under this name. `Invalid` if the name is taken by another content.
    async fn import(&self, name: &str, source: &Path, token: &Token) -> Result<Image>;

    /// Removes an image. `NotReady` while an instance uses it, where the cloud needs that; `NotFound` means finished.
    async fn delete(&self, id: &str) -> Result<()>;
}
