//! Images loaded from files, kept in the embedded registry.

use async_trait::async_trait;
use oci::Store;
use provider::{AccessError, ImageStore};
use service_api::Image;
use std::path::Path;

/// See the module.
pub(crate) struct Images(pub(crate) Store);

#[async_trait]
impl ImageStore for Images {
    async fn load(&self, archive: &Path) -> Result<Vec<Image>, AccessError> {
        let (store, path) = (self.0.clone(), archive.to_owned());
        let loaded = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::open(&path).map_err(|e| AccessError(e.to_string()))?;
            oci::load_archive(&store, file, None).map_err(|e| AccessError(e.to_string()))
        });
        let names = loaded.await.map_err(|e| AccessError(e.to_string()))??;
        let all = self.list().await?;
        Ok(all
            .into_iter()
            .filter(|image| names.contains(&image.reference))
            .collect())
    }

    async fn list(&self) -> Result<Vec<Image>, AccessError> {
        let list = self.0.list().into_iter();
        Ok(list
            .map(|(reference, digest)| Image {
                reference,
                digest: digest.as_str().to_owned(),
            })
            .collect())
    }
}
