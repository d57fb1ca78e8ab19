//! The service's own objects, as they are kept in the management cluster.
//!
//! Each is JSON under `/registry/marina.dev/<collection>/…`, the place and form of a custom resource, so that they can
//! become kinds that the API server serves. Changes go through transactions on the revision that was read: two writers
//! never overwrite each other.

use base::ClusterId;
use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use service_api::{ApiKey, ClusterSpec, ClusterState, NodePoolSpec, NodePoolState, Operation, Project};
use std::net::IpAddr;
use std::sync::Arc;
use store_api::{Compare, Consistency, Key, Op, Range, Revision, Span, Store, Txn, WatchRequest};

/// Why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Somebody else changed it since it was read: read again.
    #[error("the object was changed meanwhile")]
    Conflict,
    /// The store did not answer or refused.
    #[error(transparent)]
    Store(#[from] store_api::Error),
    /// A name that cannot be part of a key.
    #[error(transparent)]
    Key(#[from] store_api::KeyError),
    /// What is stored cannot be read: written by a newer version, or damaged.
    #[error("cannot read {key}: {source}")]
    Decode { key: String, source: serde_json::Error },
}

/// A kind of object that is kept.
pub trait Stored: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// The collection: `marina.dev/<plural>`.
    const COLLECTION: &'static str;
    /// What it is filed under: a project, a cluster, or nothing.
    fn parent(&self) -> Option<&str>;
    /// Its name there.
    fn name(&self) -> &str;
}

/// A cluster. See [`service_api::Cluster`] for what users see of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRecord {
    pub project: String,
    pub name: String,
    pub id: ClusterId,
    pub created_at: String,
    pub spec: ClusterSpec,
    pub state: ClusterState,
    pub message: String,
    /// The address of its own that clients without a server name reach it by.
    pub address: IpAddr,
}

/// The keys of a cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeysRecord {
    pub id: ClusterId,
    /// Base64 of [`pki::ClusterKeys::to_bytes`].
    pub keys: String,
}

/// A node pool and the machines it has asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRecord {
    pub cluster: ClusterId,
    pub project: String,
    pub cluster_name: String,
    pub name: String,
    pub created_at: String,
    pub spec: NodePoolSpec,
    pub state: NodePoolState,
    pub message: String,
    /// Intents, each written before the cloud is called.
    pub machines: Vec<Machine>,
    /// Numbers the next machine, never used twice.
    pub next: u64,
    /// The operation that the last change belongs to.
    pub operation: Option<String>,
}

/// One machine of a pool: an intent, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The node's name, and the idempotency token of the machine's creation.
    pub node: String,
    pub zone: String,
    /// The cloud's id, once it has answered.
    pub instance: Option<String>,
    pub address: Option<String>,
    pub ready: bool,
    /// Whether it is to go.
    pub leaving: bool,
}

/// An API key: all but its secret, of which only the SHA-256 is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRecord {
    #[serde(flatten)]
    pub key: ApiKey,
    /// Hex.
    pub secret_sha256: String,
}

/// Which operation an idempotency key stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdempotencyRecord {
    pub project: String,
    pub key: String,
    pub body_sha256: String,
    pub operation: String,
}

/// That an address is taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddressRecord {
    pub address: String,
    pub cluster: ClusterId,
}

macro_rules! stored {
    ($($ty:ty, $plural:literal, |$s:ident| $parent:expr, $name:expr;)*) => { $(
        impl Stored for $ty {
            const COLLECTION: &'static str = concat!("marina.dev/", $plural);
            fn parent(&self) -> Option<&str> { let $s = self; let _ = $s; $parent }
            fn name(&self) -> &str { let $s = self; $name }
        }
    )* };
}

stored! {
    ClusterRecord, "clusters", |s| Some(&s.project), &s.name;
    KeysRecord, "clusterkeys", |s| None, s.id.as_str();
    PoolRecord, "nodepools", |s| Some(s.cluster.as_str()), &s.name;
    Operation, "operations", |s| Some(&s.project), &s.id;
    Project, "projects", |s| None, &s.name;
    ApiKeyRecord, "apikeys", |s| None, &s.key.id;
    IdempotencyRecord, "idempotency", |s| Some(&s.project), &s.key;
    AddressRecord, "addresses", |s| None, &s.address;
}

/// An object with the revision it was read at.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    /// The object.
    pub value: T,
    /// What a change compares with.
    pub revision: Revision,
}

/// Reads and writes objects. Cheap to clone.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
    home: ClusterId,
}

/// Several writes that happen together or not at all.
#[derive(Default)]
pub struct Batch {
    compares: Vec<Compare>,
    ops: Vec<Op>,
}

impl Records {
    /// Over a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            home: ClusterId::management(),
        }
    }

    /// The store itself, for reading usage and slots.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The key an object of this kind has.
    pub fn key<T: Stored>(&self, parent: Option<&str>, name: &str) -> Result<Key, RecordError> {
        Ok(Key::object(&self.home, T::COLLECTION, parent, name)?)
    }

    /// One object.
    pub async fn get<T: Stored>(
        &self,
        parent: Option<&str>,
        name: &str,
    ) -> Result<Option<Versioned<T>>, RecordError> {
        let key = self.key::<T>(parent, name)?;
        Ok(self.range(Span::one(&key), 1).await?.pop())
    }

    /// All objects of a kind, or those under one parent, by name.
    pub async fn list<T: Stored>(&self, parent: Option<&str>) -> Result<Vec<Versioned<T>>, RecordError> {
        self.range(Span::collection(&self.home, T::COLLECTION, parent)?, 0)
            .await
    }

    /// At most `limit` objects whose names come after `after`.
    pub async fn page<T: Stored>(
        &self,
        parent: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Versioned<T>>, RecordError> {
        let mut span = Span::collection(&self.home, T::COLLECTION, parent)?;
        if let Some(after) = after {
            span = span.after(self.key::<T>(parent, after)?.path());
        }
        self.range(span, limit).await
    }

    /// A future that completes at the next change of any object of a kind. The watch has begun when this returns.
    pub async fn changed<T: Stored>(&self) -> Result<impl Future<Output = ()> + use<T>, RecordError> {
        let span = Span::collection(&self.home, T::COLLECTION, None)?;
        let mut watch = self.store.watch(WatchRequest { span, from: None }).await?;
        Ok(async move {
            let _message_or_end = watch.messages.recv().await;
        })
    }

    async fn range<T: Stored>(&self, span: Span, limit: usize) -> Result<Vec<Versioned<T>>, RecordError> {
        let range = Range {
            span,
            at: None,
            limit,
            consistency: Consistency::Linearizable,
        };
        let found = self.store.range(range).await?.records;
        found
            .into_iter()
            .map(|record| {
                let value = serde_json::from_slice(&record.value).map_err(|source| RecordError::Decode {
                    key: format!("{:?}", record.key),
                    source,
                })?;
                Ok(Versioned {
                    value,
                    revision: record.mod_revision,
                })
            })
            .collect()
    }

    /// Applies a batch; [`RecordError::Conflict`] if one of its objects is not as the batch expects.
    pub async fn commit(&self, batch: Batch) -> Result<Revision, RecordError> {
        let txn = Txn {
            compares: batch.compares,
            then: batch.ops,
            ..Txn::default()
        };
        let outcome = self.store.txn(&self.home, txn).await?;
        if outcome.succeeded {
            Ok(outcome.revision)
        } else {
            Err(RecordError::Conflict)
        }
    }

    /// Reads, changes and writes one object until no other writer interferes, at most 16 times. `change` says whether
    /// there is anything to write. `None` if the object is not there.
    pub async fn modify<T: Stored>(
        &self,
        parent: Option<&str>,
        name: &str,
        mut change: impl FnMut(&mut T) -> bool,
    ) -> Result<Option<T>, RecordError> {
        for _ in 0..16 {
            let Some(mut found) = self.get::<T>(parent, name).await? else {
                return Ok(None);
            };
            if !change(&mut found.value) {
                return Ok(Some(found.value));
            }
            let mut batch = Batch::default();
            batch.update(self, &found)?;
            match self.commit(batch).await {
                Err(RecordError::Conflict) => continue,
                other => return other.map(|_| Some(found.value)),
            }
        }
        Err(RecordError::Conflict)
    }
}

impl Batch {
    /// Makes an object that must not be there yet.
    pub fn create<T: Stored>(&mut self, records: &Records, value: &T) -> Result<(), RecordError> {
        let key = records.key::<T>(value.parent(), value.name())?;
        self.compares.push(Compare::absent(key.clone()));
        self.ops.push(Op::put(key, encode(value)));
        Ok(())
    }

    /// Writes an object that must be as it was read.
    pub fn update<T: Stored>(&mut self, records: &Records, object: &Versioned<T>) -> Result<(), RecordError> {
        let key = records.key::<T>(object.value.parent(), object.value.name())?;
        self.compares
            .push(Compare::unchanged(key.clone(), object.revision));
        self.ops.push(Op::put(key, encode(&object.value)));
        Ok(())
    }

    /// Writes an object whatever stands there: for objects with a single writer.
    pub fn put<T: Stored>(&mut self, records: &Records, value: &T) -> Result<(), RecordError> {
        let key = records.key::<T>(value.parent(), value.name())?;
        self.ops.push(Op::put(key, encode(value)));
        Ok(())
    }

    /// Requires that an object is as it was read, without changing it.
    pub fn require<T: Stored>(
        &mut self,
        records: &Records,
        object: &Versioned<T>,
    ) -> Result<(), RecordError> {
        let key = records.key::<T>(object.value.parent(), object.value.name())?;
        self.compares.push(Compare::unchanged(key, object.revision));
        Ok(())
    }

    /// Removes an object; harmless if it is not there.
    pub fn delete<T: Stored>(
        &mut self,
        records: &Records,
        parent: Option<&str>,
        name: &str,
    ) -> Result<(), RecordError> {
        self.ops.push(Op::delete(&records.key::<T>(parent, name)?));
        Ok(())
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("records are plain data with string keys")
        .into()
}
