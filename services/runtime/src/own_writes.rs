//! What a controller wrote and its caches have not shown yet.
//!
//! A cache lags behind writes. A reconciler that acts on it again before its own writes have arrived creates too many
//! pods. So each write of a reconciliation is remembered with its key, and the key is not reconciled again until the
//! caches show all of them (upstream calls these expectations, and counts; we compare revisions). A write that never
//! shows, for reasons nobody thought of, is given up after a minute.

use crate::cache::Cache;
use crate::key::Key;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(60);

/// One write.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// The cache must have seen this revision.
    Revision(Arc<Cache>, Key, i64),
    /// The cache must not have the object with this uid any more, or show it as being deleted.
    Deletion(Arc<Cache>, Key, String),
}

impl Write {
    fn shows(&self) -> bool {
        match self {
            Self::Revision(cache, key, revision) => cache.has_observed(&key.cluster, *revision),
            Self::Deletion(cache, key, uid) => cache
                .get(&key.cluster, &key.namespace, &key.name)
                .is_none_or(|e| *e.header.uid != **uid || e.header.deleting),
        }
    }
}

/// Writes by the key that was being reconciled.
#[derive(Debug, Default)]
pub(crate) struct OwnWrites(Mutex<HashMap<Key, (Instant, Vec<Write>)>>);

impl OwnWrites {
    pub(crate) fn note(&self, by: &Key, write: Write) {
        let mut all = self.0.lock();
        let (since, writes) = all
            .entry(by.clone())
            .or_insert_with(|| (Instant::now(), Vec::new()));
        *since = Instant::now();
        writes.push(write);
    }

    /// Whether the caches show all that was written for a key.
    pub(crate) fn show(&self, key: &Key) -> bool {
        let mut all = self.0.lock();
        let Some((since, writes)) = all.get_mut(key) else {
            return true;
        };
        writes.retain(|w| !w.shows());
        if writes.is_empty() || since.elapsed() > PATIENCE {
            if !writes.is_empty() {
                tracing::warn!(%key, missing = writes.len(), "writes did not show in the caches");
            }
            all.remove(key);
            return true;
        }
        false
    }
}
