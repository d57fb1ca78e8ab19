//! A machine proves who it is by a secret that only its own metadata holds.

use crate::LocalCloud;
use async_trait::async_trait;
use cloud_api::{CloudError, Identity, InstanceIdentity, Result};

#[async_trait]
impl Identity for LocalCloud {
    async fn verify(&self, document: &[u8]) -> Result<InstanceIdentity> {
        let (id, spec) = self
            .0
            .machines
            .by_document(document)
            .ok_or_else(|| CloudError::Denied("no machine has this identity document".into()))?;
        Ok(InstanceIdentity {
            id,
            name: spec.name,
            zone: spec.zone,
            tags: spec.tags,
        })
    }
}
