//! What a controller is: a name, a declaration of what it reads and writes, and `reconcile`.

use crate::cache::{Cache, CacheError, Change, Entry};
use crate::cx::Cx;
use crate::header::FieldPath;
use crate::informers::Informers;
use crate::key::Key;
use crate::queue::Queue;
use api::Object;
use async_trait::async_trait;
use base::ClusterId;
use client::Resource;
use machinery::selector::Selector;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What to do with a key after a reconciliation that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Done,
    /// Look again after a while, whatever happens.
    After(Duration),
}

/// Why a reconciliation failed. It is repeated with growing pauses.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A cached object cannot be decoded.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The controller used a kind that it did not declare.
    #[error("the controller did not declare that it reads {0}")]
    Undeclared(&'static str),
    /// An object says something that cannot be followed.
    #[error("{0}")]
    Invalid(String),
    /// Not yet: something else has to happen first.
    #[error("{0}")]
    NotYet(String),
}

impl Error {
    /// Whether another writer came first: usual, and not worth a warning.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Client(e) if e.is_conflict())
    }
}

/// A reconciler. One value serves all clusters; it keeps no state that is not keyed by cluster.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// Its name, as upstream names the component, e.g. `replicaset-controller`: in events, logs and as identity.
    fn name(&self) -> &'static str;

    /// The service account it acts as, where that is not its name: upstream runs some controllers under one account.
    fn account(&self) -> &'static str {
        self.name()
    }

    /// Its queue's name in metrics, where upstream calls it otherwise than the controller.
    fn queue(&self) -> &'static str {
        self.name()
    }

    /// Declares kinds: [`Cx`] offers nothing else.
    fn wire(&self, wiring: &mut Wiring);

    /// Called once before the first reconciliation, for controllers that add kinds while running.
    fn start(&self, _handle: &Handle) {}

    /// Called when clusters became ours that were not. Controllers with a primary kind are asked for all of its objects
    /// anyway; others ask for what they need here.
    fn gained(&self, _handle: &Handle, _ours: &dyn Fn(&ClusterId) -> bool) {}

    /// Makes one object true. Level-triggered: looks at everything, whatever the reason of the call.
    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error>;

    /// How many keys are worked on at once.
    fn workers(&self) -> usize {
        16
    }
}

/// A controller's way to its own queue, for what happens outside of its wiring.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) queue: Arc<Queue>,
    pub(crate) informers: Arc<Informers>,
}

impl Handle {
    /// Asks for a reconciliation.
    pub fn enqueue(&self, key: Key) {
        self.queue.add(key);
    }
    /// Asks for a reconciliation after a while.
    pub fn enqueue_after(&self, key: Key, delay: Duration) {
        self.queue.add_after(key, delay);
    }
    /// The process's informers.
    pub fn informers(&self) -> &Arc<Informers> {
        &self.informers
    }
}

/// Caches of the kinds that a controller declared.
#[derive(Clone, Debug, Default)]
pub struct Caches(pub(crate) HashMap<(&'static str, &'static str), Arc<Cache>>);

impl Caches {
    /// The cache of a kind.
    pub fn of<K: Object>(&self) -> Result<&Arc<Cache>, Error> {
        self.0
            .get(&(K::GROUP, K::PLURAL))
            .ok_or(Error::Undeclared(K::KIND))
    }

    /// Objects of a kind for which `keep` is true; none if the kind was not declared.
    pub fn list<K: Object>(
        &self,
        cluster: &ClusterId,
        namespace: Option<&str>,
        keep: impl FnMut(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        self.of::<K>()
            .map(|c| c.list(cluster, namespace, keep))
            .unwrap_or_default()
    }

    /// Objects of a kind that a selector matches.
    pub fn select<K: Object>(&self, cluster: &ClusterId, ns: Option<&str>, s: &Selector) -> Vec<Arc<Entry>> {
        self.list::<K>(cluster, ns, |e| e.header.matches(s))
    }
}

/// Which keys to look at because of a change.
pub type Mapper = Arc<dyn Fn(&Caches, &Change) -> Vec<Key> + Send + Sync>;

/// What a controller reads and writes. Filled by [`Controller::wire`].
#[derive(Default)]
pub struct Wiring {
    pub(crate) kinds: Vec<(&'static str, &'static str, Resource, Vec<FieldPath>)>,
    pub(crate) mappers: Vec<(Resource, Mapper)>,
    pub(crate) writes: Vec<(Resource, &'static [&'static str])>,
    pub(crate) primary: Option<Resource>,
    pub(crate) delay: Duration,
}

impl std::fmt::Debug for Wiring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wiring")
            .field("primary", &self.primary)
            .finish_non_exhaustive()
    }
}

impl Wiring {
    /// Reads a kind; its changes wake nobody.
    pub fn reads<K: Object>(&mut self) -> &mut Self {
        if !self
            .kinds
            .iter()
            .any(|(g, p, ..)| (*g, *p) == (K::GROUP, K::PLURAL))
        {
            self.kinds
                .push((K::GROUP, K::PLURAL, Resource::of::<K>(), Vec::new()));
        }
        self
    }

    /// Reads a kind and can look objects up by a field.
    pub fn indexed<K: Object>(&mut self, field: &FieldPath) -> &mut Self {
        self.reads::<K>();
        for (_, _, _, fields) in self
            .kinds
            .iter_mut()
            .filter(|(g, p, ..)| (*g, *p) == (K::GROUP, K::PLURAL))
        {
            fields.push(field.clone());
        }
        self
    }

    /// The kind whose names are the keys: each change of an object asks for it.
    pub fn primary<K: Object>(&mut self) -> &mut Self {
        self.primary = Some(Resource::of::<K>());
        self.maps::<K>(|_, change| vec![change.entry().key.clone()])
    }

    /// A kind whose objects name an `Owner` as their controller: each change asks for the owner, old and new.
    pub fn owns<Owner: Object, K: Object>(&mut self) -> &mut Self {
        self.maps::<K>(|_, change| {
            let mut keys = Vec::new();
            for entry in change.sides() {
                let owner = entry
                    .header
                    .controller()
                    .filter(|o| &*o.kind == Owner::KIND && o.group() == Owner::GROUP);
                if let Some(owner) = owner {
                    let namespace: &str = if Owner::NAMESPACED {
                        &entry.key.namespace
                    } else {
                        ""
                    };
                    keys.push(Key::new(&change.cluster, namespace, &owner.name));
                }
            }
            keys.dedup();
            keys
        })
    }

    /// A kind whose changes ask for the keys that a function names.
    pub fn maps<K: Object>(
        &mut self,
        map: impl Fn(&Caches, &Change) -> Vec<Key> + Send + Sync + 'static,
    ) -> &mut Self {
        self.reads::<K>();
        self.mappers.push((Resource::of::<K>(), Arc::new(map)));
        self
    }

    /// Declares what the controller writes, for the RBAC role that is printed from it.
    pub fn writes<K: Object>(&mut self, verbs: &'static [&'static str]) -> &mut Self {
        self.writes.push((Resource::of::<K>(), verbs));
        self
    }

    /// Gathers changes for this long before reconciling (client-go's batching of endpoints).
    pub fn settles(&mut self, delay: Duration) -> &mut Self {
        self.delay = delay;
        self
    }

    /// What is read, as resources.
    pub fn read_resources(&self) -> impl Iterator<Item = &Resource> {
        self.kinds.iter().map(|(_, _, r, _)| r)
    }

    /// What is written, as resources with verbs.
    pub fn written_resources(&self) -> impl Iterator<Item = (&Resource, &'static [&'static str])> {
        self.writes.iter().map(|(r, v)| (r, *v))
    }
}
