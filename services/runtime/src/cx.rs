//! What `reconcile` works with: caches to read, a fenced client to write, events, the time.

use crate::controller::{Caches, Error};
use crate::header::FieldPath;
use crate::key::Key;
use crate::own_writes::{OwnWrites, Write};
use crate::recorder::{EventType, Recorder};
use api::Object;
use base::{Clock, ClusterId};
use client::{Api, Client, DeleteParams, Patch};
use jiff::Timestamp;
use machinery::selector::Selector;
use std::sync::Arc;

/// The context of one reconciliation in one cluster. Reads come from caches and may lag; writes are remembered, and
/// the key is not reconciled again before the caches show them.
#[derive(Debug)]
pub struct Cx {
    pub(crate) key: Key,
    pub(crate) component: &'static str,
    pub(crate) account: &'static str,
    pub(crate) client: Client,
    pub(crate) caches: Arc<Caches>,
    pub(crate) own_writes: Arc<OwnWrites>,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Clock,
}

impl Cx {
    /// The cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.key.cluster
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The declared kinds' caches.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }

    /// A client for what the helpers below do not cover. Its writes are fenced but not remembered.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Typed calls in a namespace (ignored for kinds without), fenced but not remembered.
    pub fn api<K: Object>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(&self.client, namespace)
    }

    /// One object from the cache.
    pub fn get<K: Object>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        let entry = self.caches.of::<K>()?.get(self.cluster(), namespace, name);
        Ok(entry.map(|e| e.decode()).transpose()?)
    }

    /// The object this reconciliation is about.
    pub fn this<K: Object>(&self) -> Result<Option<K>, Error> {
        self.get(&self.key.namespace, &self.key.name)
    }

    /// Objects of a namespace, or of all.
    pub fn list<K: Object>(&self, namespace: Option<&str>) -> Result<Vec<K>, Error> {
        self.list_where(namespace, |_| true)
    }

    /// Objects whose header passes a test.
    pub fn list_where<K: Object>(
        &self,
        namespace: Option<&str>,
        keep: impl FnMut(&crate::cache::Entry) -> bool,
    ) -> Result<Vec<K>, Error> {
        let entries = self.caches.of::<K>()?.list(self.cluster(), namespace, keep);
        entries.iter().map(|e| Ok(e.decode()?)).collect()
    }

    /// Objects whose labels a selector matches.
    pub fn select<K: Object>(&self, namespace: Option<&str>, selector: &Selector) -> Result<Vec<K>, Error> {
        self.list_where(namespace, |e| e.header.matches(selector))
    }

    /// Objects that name this uid as an owner.
    pub fn owned<K: Object>(&self, uid: &str) -> Result<Vec<K>, Error> {
        let entries = self.caches.of::<K>()?.owned(self.cluster(), uid);
        entries.iter().map(|e| Ok(e.decode()?)).collect()
    }

    /// Objects whose indexed field has a value.
    pub fn by_field<K: Object>(&self, field: &FieldPath, value: &str) -> Result<Vec<K>, Error> {
        let entries = self.caches.of::<K>()?.by_field(self.cluster(), field, value);
        entries.iter().map(|e| Ok(e.decode()?)).collect()
    }

    fn wrote<K: Object>(&self, object: &K) {
        let Ok(cache) = self.caches.of::<K>() else { return };
        let meta = object.meta();
        let revision = meta.resource_version.as_deref().and_then(|v| v.parse().ok());
        if let Some(revision) = revision {
            let key = self.key_of(object);
            self.own_writes
                .note(&self.key, Write::Revision(cache.clone(), key, revision));
        }
    }

    fn key_of<K: Object>(&self, object: &K) -> Key {
        let meta = object.meta();
        Key::new(
            self.cluster(),
            meta.namespace.as_deref().unwrap_or(""),
            meta.name.as_deref().unwrap_or(""),
        )
    }

    /// Creates an object in the namespace its metadata names.
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, client::Error> {
        let made = self
            .api::<K>(object.meta().namespace.as_deref().unwrap_or(""))
            .create(object)
            .await?;
        self.wrote(&made);
        Ok(made)
    }

    /// Replaces an object; a stale one is refused with a conflict.
    pub async fn replace<K: Object>(&self, object: &K) -> Result<K, client::Error> {
        let made = self
            .api::<K>(object.meta().namespace.as_deref().unwrap_or(""))
            .replace(object)
            .await?;
        self.wrote(&made);
        Ok(made)
    }

    /// Replaces an object's status.
    pub async fn replace_status<K: Object>(&self, object: &K) -> Result<K, client::Error> {
        let made = self
            .api::<K>(object.meta().namespace.as_deref().unwrap_or(""))
            .replace_status(object)
            .await?;
        self.wrote(&made);
        Ok(made)
    }

    /// Changes an object.
    pub async fn patch<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        patch: &Patch,
    ) -> Result<K, client::Error> {
        let made = self.api::<K>(namespace).patch(name, patch).await?;
        self.wrote(&made);
        Ok(made)
    }

    /// Changes an object's status.
    pub async fn patch_status<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        patch: &Patch,
    ) -> Result<K, client::Error> {
        let made = self.api::<K>(namespace).patch_status(name, patch).await?;
        self.wrote(&made);
        Ok(made)
    }

    /// Deletes an object, if it still is the one with this uid. One that is gone already is no error.
    pub async fn delete<K: Object>(&self, object: &K, params: DeleteParams) -> Result<(), client::Error> {
        let key = self.key_of(object);
        let uid = object.meta().uid.clone().unwrap_or_default();
        let params = if uid.is_empty() { params } else { params.uid(&uid) };
        match self.api::<K>(&key.namespace).delete(&key.name, &params).await {
            Ok(Some(left)) => self.wrote(&left),
            Ok(None) => {
                if let Ok(cache) = self.caches.of::<K>() {
                    self.own_writes
                        .note(&self.key, Write::Deletion(cache.clone(), key, uid));
                }
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Records a core/v1 Event about an object. Never waits, never fails.
    pub fn event<K: Object>(&self, about: &K, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(
            self.cluster(),
            (self.component, self.account),
            about,
            kind,
            reason,
            message.into(),
        );
    }
}
