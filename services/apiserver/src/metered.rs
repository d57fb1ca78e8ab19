//! The store with a stopwatch: `etcd_request_duration_seconds` and a span around each call of the API server.
//!
//! It stands between the pipeline and whatever store there is, so that figures mean the same for all of them. Reads of the
//! authorizer go past it, since they are served from memory and would drown the rest.

use crate::metrics::Metrics;
use async_trait::async_trait;
use base::ClusterId;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store_api::{
    AcrossMessage, AcrossRequest, Compare, Consistency, Error, LeaseId, LeaseInfo, Op, Position, Quota,
    Range, RangeResult, Revision, Status, Store, Txn, TxnOutcome, Usage, Watch, WatchRequest,
};
use tokio::sync::mpsc;
use tracing::Instrument;

/// See the module.
pub(crate) struct Metered {
    inner: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    /// Storage prefixes and the resources they hold: labels come from here and from nowhere else.
    resources: HashMap<&'static str, (&'static str, &'static str)>,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        let all = api::catalogs().flat_map(|c| &c.resources);
        let resources = all.map(|r| (r.storage_prefix, (r.group, r.plural))).collect();
        Self {
            inner,
            metrics,
            resources,
        }
    }

    /// Group and resource of a path below `/registry/`.
    fn resource(&self, path: &[u8]) -> (&'static str, &'static str) {
        let path = path
            .strip_prefix(b"/registry/")
            .and_then(|p| std::str::from_utf8(p).ok())
            .unwrap_or("");
        let mut ends = path.match_indices('/').map(|(at, _)| at);
        let one = ends.next().unwrap_or(path.len());
        let two = ends.next().unwrap_or(path.len());
        let known = self
            .resources
            .get(&path[..two])
            .or_else(|| self.resources.get(&path[..one]));
        known.copied().unwrap_or(("", "other"))
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        cluster: &ClusterId,
        path: &[u8],
        call: impl Future<Output = T>,
    ) -> T {
        let (group, resource) = self.resource(path);
        let watch = base::clock::stopwatch();
        let span = tracing::debug_span!("store", %cluster, operation, resource);
        let result = call.instrument(span).await;
        self.metrics
            .store(cluster, (operation, group, resource), watch.elapsed());
        result
    }
}

/// What a transaction is called, and the key it is about.
fn describe(txn: &Txn) -> (&'static str, &[u8]) {
    let absent = txn
        .compares
        .iter()
        .any(|c| matches!(c, Compare::ModRevision(_, Ordering::Equal, 0)));
    match txn.then.first() {
        Some(Op::Put { key, .. }) if absent => ("create", key.path()),
        Some(Op::Put { key, .. }) => ("update", key.path()),
        Some(Op::Delete { span, .. }) => ("delete", &span.start),
        Some(Op::Range { span, .. }) => ("get", &span.start),
        _ => ("txn", b""),
    }
}

#[async_trait]
impl Store for Metered {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        let (cluster, path) = (range.span.cluster.clone(), range.span.start.clone());
        let one = range.limit == 1 && !path.ends_with(b"/");
        let operation = if one { "get" } else { "list" };
        self.timed(operation, &cluster, &path, self.inner.range(range))
            .await
    }

    async fn txn(&self, cluster: &ClusterId, txn: Txn) -> Result<TxnOutcome, Error> {
        let (operation, path) = describe(&txn);
        let path = bytes::Bytes::copy_from_slice(path);
        self.timed(operation, cluster, &path, self.inner.txn(cluster, txn))
            .await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error> {
        self.inner.watch(request).await
    }

    async fn watch_across(&self, request: AcrossRequest) -> Result<mpsc::Receiver<AcrossMessage>, Error> {
        self.inner.watch_across(request).await
    }

    async fn compact(&self, cluster: &ClusterId, at: Revision) -> Result<(), Error> {
        self.timed("compact", cluster, b"", self.inner.compact(cluster, at))
            .await
    }

    async fn revision(&self, cluster: &ClusterId, consistency: Consistency) -> Result<Position, Error> {
        self.inner.revision(cluster, consistency).await
    }

    async fn lease_grant(&self, cluster: &ClusterId, id: LeaseId, ttl: Duration) -> Result<LeaseId, Error> {
        self.inner.lease_grant(cluster, id, ttl).await
    }

    async fn lease_revoke(&self, cluster: &ClusterId, id: LeaseId) -> Result<(), Error> {
        self.inner.lease_revoke(cluster, id).await
    }

    async fn lease_keep_alive(&self, cluster: &ClusterId, id: LeaseId) -> Result<Duration, Error> {
        self.inner.lease_keep_alive(cluster, id).await
    }

    async fn lease_info(&self, cluster: &ClusterId, id: LeaseId) -> Result<LeaseInfo, Error> {
        self.inner.lease_info(cluster, id).await
    }

    async fn leases(&self, cluster: &ClusterId) -> Result<Vec<LeaseId>, Error> {
        self.inner.leases(cluster).await
    }

    async fn set_quota(&self, cluster: &ClusterId, quota: Option<Quota>) -> Result<(), Error> {
        self.inner.set_quota(cluster, quota).await
    }

    async fn remove_cluster(&self, cluster: &ClusterId) -> Result<(), Error> {
        self.inner.remove_cluster(cluster).await
    }

    async fn clusters(&self) -> Result<Vec<ClusterId>, Error> {
        self.inner.clusters().await
    }

    async fn usage(&self, cluster: &ClusterId) -> Result<Usage, Error> {
        self.inner.usage(cluster).await
    }

    async fn status(&self) -> Status {
        self.inner.status().await
    }
}
