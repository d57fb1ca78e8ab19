//! Proof of which instance is speaking.
//!
//! At first boot a machine has no certificate yet. It shows a document that only it can have (AWS's signed instance
//! identity document, a secret that the embedded cloud put into its metadata), and gets an identity for exactly that instance.

use crate::{Result, Tags};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Who an identity document speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceIdentity {
    /// The instance's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its tags as the cloud knows them, which the machine cannot change.
    pub tags: Tags,
}

/// Proof of which instance is speaking.
#[async_trait]
pub trait Identity: Send + Sync {
    /// Whom this document speaks for. `Denied` for one that is forged, expired, or of an instance that is gone.
    async fn verify(&self, document: &[u8]) -> Result<InstanceIdentity>;
}
