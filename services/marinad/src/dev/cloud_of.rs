//! Which cloud each cluster has, for the cloud controllers: a map that follows the provider's records.

use base::{ClusterId, Shutdown};
use cloud_api::Cloud;
use cloud_controllers::CloudOf;
use parking_lot::RwLock;
use provider::Clouds;
use provider::records::{ClusterRecord, Records};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub(super) struct CloudOfRecords {
    records: Records,
    clouds: Clouds,
    known: RwLock<HashMap<ClusterId, service_api::Cloud>>,
}

impl CloudOf for CloudOfRecords {
    fn cloud_of(&self, cluster: &ClusterId) -> Option<Arc<dyn Cloud>> {
        let name = *self.known.read().get(cluster)?;
        self.clouds.get(&name).cloned()
    }
}

impl CloudOfRecords {
    /// Knows nothing until [`Self::follow`] runs.
    pub(super) fn new(records: Records, clouds: Clouds) -> Arc<Self> {
        Arc::new(Self {
            records,
            clouds,
            known: RwLock::default(),
        })
    }

    /// Follows the records until shutdown.
    pub(super) async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        while let Some(outcome) = shutdown.run_until(self.look_and_wait()).await {
            if let Err(error) = outcome {
                tracing::warn!(%error, "cannot read which clouds the clusters have");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn look_and_wait(&self) -> Result<(), provider::records::RecordError> {
        // The watch begins before the list is read, so that no change falls between them.
        let changed = self.records.changed::<ClusterRecord>().await?;
        let all = self.records.list::<ClusterRecord>(None).await?;
        *self.known.write() = all
            .into_iter()
            .map(|c| (c.value.id, c.value.spec.cloud))
            .collect();
        changed.await;
        Ok(())
    }
}
