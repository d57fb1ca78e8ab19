//! Leases of events: an event is forgotten an hour after it was written.
//!
//! As upstream does, events of one cluster share a lease for a minute, so that a burst of events makes one lease. The map holds
//! the last lease of clusters that wrote events lately; it is bounded, and a lost entry costs one more lease.

use crate::kind::Kind;
use crate::status::Result;
use crate::storage;
use base::ClusterId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store_api::{LeaseId, Store};
use tokio::time::Instant;

/// How long an event lives (upstream: `--event-ttl`).
const TTL: Duration = Duration::from_secs(3600);
/// How long a lease is given to new events.
const SHARED: Duration = Duration::from_secs(60);
/// Clusters remembered at a time.
const MAX: usize = 4096;

/// The leases that new events are attached to.
#[derive(Default)]
pub(crate) struct EventLeases(Mutex<HashMap<ClusterId, (LeaseId, Instant)>>);

impl EventLeases {
    /// A lease that lives for at least [`TTL`].
    pub(crate) async fn get(
        &self,
        store: &Arc<dyn Store>,
        cluster: &ClusterId,
        kind: &Kind,
    ) -> Result<LeaseId> {
        let now = Instant::now();
        if let Some((lease, since)) = self.0.lock().get(cluster)
            && now.duration_since(*since) < SHARED
        {
            return Ok(*lease);
        }
        let granted = store.lease_grant(cluster, 0, TTL + SHARED).await;
        let lease = granted.map_err(|e| storage::store_error(e, kind, "create"))?;
        let mut all = self.0.lock();
        if all.len() >= MAX {
            all.retain(|_, (_, since)| now.duration_since(*since) < SHARED);
            if all.len() >= MAX {
                all.clear();
            }
        }
        all.insert(cluster.clone(), (lease, now));
        Ok(lease)
    }

    /// Forgets a cluster.
    pub(crate) fn forget(&self, cluster: &ClusterId) {
        self.0.lock().remove(cluster);
    }
}
