//! Reads of other objects, for admission, sub-resources and bootstrap.

use crate::kind::{Kind, KindTable};
use crate::status::{ApiError, Result};
use crate::storage;
use base::ClusterId;
use machinery::Value;
use std::sync::Arc;
use store_api::{Consistency, Range, Record, Span, Store};

/// Reads objects of one cluster in the version they are stored in.
#[derive(Clone)]
pub struct Reader {
    store: Arc<dyn Store>,
    kinds: Arc<KindTable>,
    cluster: ClusterId,
}

impl Reader {
    pub(crate) fn new(store: Arc<dyn Store>, kinds: Arc<KindTable>, cluster: ClusterId) -> Self {
        Self {
            store,
            kinds,
            cluster,
        }
    }

    /// The cluster it reads.
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    /// A kind in its stored version.
    pub fn kind(&self, group: &str, plural: &str) -> Result<Arc<Kind>> {
        self.kinds
            .stored(group, plural)
            .cloned()
            .ok_or_else(ApiError::no_resource)
    }

    /// The record of an object as this member knows it.
    pub async fn record(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        consistency: Consistency,
    ) -> Result<Option<Arc<Record>>> {
        let key = storage::key(&self.cluster, kind, namespace, name)?;
        let range = Range {
            span: Span::one(&key),
            at: None,
            limit: 1,
            consistency,
        };
        let result = self
            .store
            .range(range)
            .await
            .map_err(|e| storage::store_error(e, kind, "get"))?;
        Ok(result.records.into_iter().next())
    }

    /// An object as this member knows it; for what was written a moment ago by another member use [`Self::get_live`].
    pub async fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let kind = self.kind(group, plural)?;
        let record = self.record(&kind, namespace, name, Consistency::Local).await?;
        record.map(|r| storage::load(&r, &kind)).transpose()
    }

    /// An object, after every write that was acknowledged before.
    pub async fn get_live(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>> {
        let kind = self.kind(group, plural)?;
        let record = self
            .record(&kind, namespace, name, Consistency::Linearizable)
            .await?;
        record.map(|r| storage::load(&r, &kind)).transpose()
    }

    /// All objects of a kind in one namespace (or in all, if that is empty), as this member knows them.
    pub async fn list(&self, group: &str, plural: &str, namespace: &str) -> Result<Vec<Value>> {
        let kind = self.kind(group, plural)?;
        let span = storage::span(&self.cluster, &kind, namespace)?;
        let range = Range {
            span,
            at: None,
            limit: 0,
            consistency: Consistency::Local,
        };
        let result = self
            .store
            .range(range)
            .await
            .map_err(|e| storage::store_error(e, &kind, "list"))?;
        result.records.iter().map(|r| storage::load(r, &kind)).collect()
    }
}
