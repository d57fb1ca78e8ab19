//! Reads the few objects that identity depends on: roles and bindings, accounts, pods, nodes, Secrets.
//!
//! Decoding is the API server's business, so it is passed in ([`Decode`]); reading goes straight to the store, under the
//! cluster that the caller names.

use base::ClusterId;
use machinery::Value;
use std::sync::Arc;
use store_api::{Consistency, Key, Range, Record, Revision, Span, Store};

/// Turns stored bytes into an object.
pub trait Decode: Send + Sync + 'static {
    /// The object in a record of this cluster, in its storage version.
    fn decode(&self, cluster: &ClusterId, record: &Record) -> Result<Value, String>;

    /// `spec.nodeName` of a pod's record; the default decodes the pod. An implementation with an index header reads it
    /// from there.
    fn pod_node(&self, cluster: &ClusterId, record: &Record) -> Option<String> {
        let pod = self.decode(cluster, record).ok()?;
        pod.str_at(&["spec", "nodeName"]).map(str::to_owned)
    }
}

/// Why an object could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LookupError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] store_api::Error),
    /// What is stored cannot be decoded.
    #[error("cannot decode {key}: {why}")]
    Decode { key: String, why: String },
}

/// The reader. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
    decode: Arc<dyn Decode>,
}

impl Objects {
    /// A reader over a store.
    pub fn new(store: Arc<dyn Store>, decode: Arc<dyn Decode>) -> Self {
        Self { store, decode }
    }

    /// One object by upstream's storage prefix (`pods`, `minions`, …), or `None`. Names that can be no key name nothing.
    ///
    /// Reads what this member has; only if it is not there, asks the group, so that an object made a moment ago at
    /// another member is found.
    pub async fn get(
        &self,
        cluster: &ClusterId,
        prefix: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, LookupError> {
        let Ok(key) = Key::object(cluster, prefix, namespace, name) else {
            return Ok(None);
        };
        for consistency in [Consistency::Local, Consistency::Linearizable] {
            let range = Range {
                span: Span::one(&key),
                at: None,
                limit: 1,
                consistency,
            };
            if let Some(record) = self.store.range(range).await?.records.first() {
                return self.decode(cluster, record).map(Some);
            }
        }
        Ok(None)
    }

    /// All records of a kind, in one namespace or in all, as this member has them.
    pub async fn records(
        &self,
        cluster: &ClusterId,
        prefix: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Record>>, LookupError> {
        let Ok(span) = Span::collection(cluster, prefix, namespace) else {
            return Ok(Vec::new());
        };
        let range = Range {
            span,
            at: None,
            limit: 0,
            consistency: Consistency::Local,
        };
        Ok(self.store.range(range).await?.records)
    }

    /// The cluster's revision, as this member has it.
    pub async fn revision(&self, cluster: &ClusterId) -> Result<Revision, LookupError> {
        Ok(self.store.revision(cluster, Consistency::Local).await?.revision)
    }

    /// Decodes a record.
    pub fn decode(&self, cluster: &ClusterId, record: &Record) -> Result<Value, LookupError> {
        self.decode
            .decode(cluster, record)
            .map_err(|why| LookupError::Decode {
                key: format!("{:?}", record.key),
                why,
            })
    }

    /// The node a pod's record stands on.
    pub(crate) fn pod_node(&self, cluster: &ClusterId, record: &Record) -> Option<String> {
        self.decode.pod_node(cluster, record)
    }
}
