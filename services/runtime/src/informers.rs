//! One stream, one task and one cache for each kind, whatever the number of clusters.
//!
//! A broken stream is opened again with growing pauses; the new initial state is compared with the cache, so that
//! handlers see only what really changed. Handlers run in the informer's task: they may put keys into queues and
//! nothing slower.

use crate::cache::{Cache, Change};
use crate::header::FieldPath;
use crate::key::Key;
use crate::source::{Message, Source};
use base::Shutdown;
use client::Resource;
use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is called for each change.
pub type Handler = Arc<dyn Fn(&Change) + Send + Sync>;

/// One kind's cache and those who want to hear of changes.
pub struct Informer {
    cache: Arc<Cache>,
    handlers: RwLock<Vec<Handler>>,
    synced: watch::Sender<bool>,
    started: Mutex<bool>,
}

impl std::fmt::Debug for Informer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informer")
            .field("resource", self.cache.resource())
            .finish_non_exhaustive()
    }
}

impl Informer {
    /// The cache.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Calls a handler for every object that is there and for every change from now on.
    pub fn subscribe(&self, handler: Handler) {
        // The task applies changes under a read lock, so nothing is missed or told twice in between.
        let mut handlers = self.handlers.write();
        for key in self.cache.keys(|_| true) {
            if let Some(new) = self.cache.get(&key.cluster, &key.namespace, &key.name) {
                handler(&Change {
                    cluster: key.cluster,
                    old: None,
                    new: Some(new),
                });
            }
        }
        handlers.push(handler);
    }

    /// Whether the initial state has arrived.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the initial state.
    pub async fn synced(&self) {
        let mut receiver = self.synced.subscribe();
        // The sender lives in `self`, so this ends only when the value is true.
        let _value = receiver.wait_for(|s| *s).await;
    }

    fn apply(&self, work: impl FnOnce(&Cache) -> Vec<Change>) {
        let handlers = self.handlers.read();
        for change in work(&self.cache) {
            for handler in handlers.iter() {
                handler(&change);
            }
        }
    }

    fn message(&self, message: Message, seen: &mut Option<HashSet<Key>>) {
        match message {
            Message::Put { key, revision, value } => {
                if let Some(seen) = seen {
                    seen.insert(key.clone());
                }
                self.apply(|cache| match cache.put(key.clone(), revision, value) {
                    Ok(change) => change.into_iter().collect(),
                    Err(error) => {
                        tracing::warn!(%key, resource = %cache.resource(), %error, "an object cannot be read");
                        Vec::new()
                    }
                });
            }
            Message::Delete { key, revision } => {
                if let Some(seen) = seen {
                    seen.remove(&key);
                }
                self.apply(|cache| cache.delete(&key, revision).into_iter().collect());
            }
            Message::Progress { cluster, revision } => self.cache.progress(&cluster, revision),
            Message::ClusterGone { cluster } => self.apply(|cache| cache.forget(&cluster)),
            Message::Synced => {
                if let Some(seen) = seen.take() {
                    let gone: Vec<_> = self
                        .cache
                        .keys(|_| true)
                        .into_iter()
                        .filter(|k| !seen.contains(k))
                        .collect();
                    self.apply(|cache| gone.iter().filter_map(|key| cache.delete(key, 0)).collect());
                }
                self.synced.send_replace(true);
            }
        }
    }

    async fn run(&self, source: &dyn Source) {
        let mut failures = 0u32;
        loop {
            match source.open(self.cache.resource()).await {
                Ok(mut stream) => {
                    let mut seen = Some(HashSet::new());
                    while let Some(message) = stream.next().await {
                        failures = 0;
                        self.message(message, &mut seen);
                    }
                }
                // A foreign server may not serve the kind: to reconcilers it then has no objects.
                Err(crate::source::SourceError::Client(error)) if error.is_not_found() => {
                    self.message(Message::Synced, &mut Some(HashSet::new()));
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                Err(error) => {
                    tracing::warn!(resource = %self.cache.resource(), %error, "cannot watch");
                }
            }
            failures = (failures + 1).min(9);
            tokio::time::sleep(Duration::from_millis(50 << failures)).await;
        }
    }
}

/// All informers of a process; controllers share them.
pub struct Informers {
    source: Arc<dyn Source>,
    kinds: Mutex<HashMap<Resource, Arc<Informer>>>,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Informers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Informers").finish_non_exhaustive()
    }
}

impl Informers {
    /// No informers yet. Their tasks end at `shutdown`.
    pub fn new(source: Arc<dyn Source>, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            source,
            kinds: Mutex::default(),
            shutdown,
        })
    }

    /// The informer of a kind, made at the first call. Fields may be named at any time.
    pub fn informer(&self, resource: &Resource, fields: &[FieldPath]) -> Arc<Informer> {
        let mut kinds = self.kinds.lock();
        let informer = kinds.entry(resource.clone()).or_insert_with(|| {
            Arc::new(Informer {
                cache: Arc::new(Cache::new(resource.clone(), Vec::new())),
                handlers: RwLock::default(),
                synced: watch::Sender::new(false),
                started: Mutex::new(false),
            })
        });
        for field in fields {
            informer.cache.index(field);
        }
        informer.clone()
    }

    /// The cache of a typed kind.
    pub fn cache<K: api::Object>(&self) -> Arc<Cache> {
        self.informer(&Resource::of::<K>(), &[]).cache.clone()
    }

    /// Starts the informers that were not started yet.
    pub fn start(&self) {
        for informer in self.kinds.lock().values() {
            let mut started = informer.started.lock();
            if std::mem::replace(&mut *started, true) {
                continue;
            }
            let (informer, source, shutdown) = (informer.clone(), self.source.clone(), self.shutdown.clone());
            tokio::spawn(async move { shutdown.run_until(informer.run(&*source)).await });
        }
    }

    /// Waits until every informer that there is now has its initial state.
    pub async fn synced(&self) {
        let all: Vec<_> = self.kinds.lock().values().cloned().collect();
        for informer in all {
            informer.synced().await;
        }
    }
}
