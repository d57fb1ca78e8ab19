//! Owner references: dependents go when their last owner has gone; an owner waits for those that block it, or lets
//! them go free.
//!
//! There is no graph of its own: every informer already indexes its objects by their owners' uids, so "who depends on
//! this uid" is one lookup in each cache, and the garbage collector only remembers what it has to look at. It watches
//! every kind that can be listed, watched and deleted, built in or custom, across clusters.
//!
//! An owner that the caches do not show is looked up at the server before anything is deleted for it.

mod kinds;
mod plan;

use api::apiextensions::v1::CustomResourceDefinition;
use async_trait::async_trait;
use base::ClusterId;
use client::{DeleteParams, DynApi, Patch, Propagation, Resource};
use kinds::Kinds;
use parking_lot::Mutex;
use plan::{Found, Verdict};
use runtime::header::Owner;
use runtime::{Cache, Change, Controller, Cx, Entry, Error, Handle, Key, Next, Wiring};
use serde_json::json;
use std::collections::HashSet;
use std::sync::Arc;

/// The finalizer of an owner that waits for its dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner whose dependents are to stay.
pub(crate) const ORPHAN: &str = "orphan";
/// Uids that are remembered as gone.
const GONE: usize = 16_384;

/// See the module. Keys are objects of any kind: the name is `<plural>.<group>/<name>`.
pub(crate) struct GarbageCollector {
    kinds: Arc<Kinds>,
    gone: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for GarbageCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GarbageCollector")
    }
}

impl Default for GarbageCollector {
    fn default() -> Self {
        Self {
            kinds: Arc::new(Kinds::default()),
            gone: Mutex::default(),
        }
    }
}

fn key_of(resource: &Resource, entry: &Entry) -> Key {
    let name = format!("{}.{}/{}", resource.plural, resource.group, entry.key.name);
    Key::new(&entry.key.cluster, &entry.key.namespace, &name)
}

/// What to look at because of a change.
fn affected(kinds: &Kinds, resource: &Resource, change: &Change) -> Vec<Key> {
    let mut keys = Vec::new();
    let special = |e: &Entry| {
        e.header.deleting && (e.header.has_finalizer(FOREGROUND) || e.header.has_finalizer(ORPHAN))
    };
    match (&change.old, &change.new) {
        (old, Some(new)) => {
            let same = old.as_ref().is_some_and(|o| {
                o.header.owners == new.header.owners
                    && o.header.finalizers == new.header.finalizers
                    && o.header.deleting == new.header.deleting
                    && o.header.uid == new.header.uid
            });
            if !same && (!new.header.owners.is_empty() || special(new)) {
                keys.push(key_of(resource, new));
            }
            // An owner that begins to wait makes its dependents go; one made anew under its name is another one.
            let begins = special(new) && !old.as_ref().is_some_and(|o| special(o));
            let replaced = old.as_ref().filter(|o| o.header.uid != new.header.uid);
            for uid in begins
                .then_some(&new.header.uid)
                .into_iter()
                .chain(replaced.map(|o| &o.header.uid))
            {
                keys.extend(
                    kinds
                        .dependents(&change.cluster, uid)
                        .iter()
                        .map(|(r, e)| key_of(r, e)),
                );
            }
        }
        (Some(old), None) => {
            keys.extend(
                kinds
                    .dependents(&change.cluster, &old.header.uid)
                    .iter()
                    .map(|(r, e)| key_of(r, e)),
            );
        }
        (None, None) => {}
    }
    // Owners that may have waited for this one.
    if let Some(old) = &change.old {
        let still = |uid: &str| {
            change
                .new
                .as_ref()
                .is_some_and(|n| n.header.owners.iter().any(|o| *o.uid == *uid && o.block))
        };
        for owner in old.header.owners.iter().filter(|o| o.block && !still(&o.uid)) {
            if let Some((r, e)) = kinds.owner(&change.cluster, &old.key.namespace, owner)
                && e.header.has_finalizer(FOREGROUND)
            {
                keys.push(key_of(&r, &e));
            }
        }
    }
    keys
}

impl GarbageCollector {
    fn follow(handle: &Handle, kinds: &Arc<Kinds>, resource: Resource) {
        let informer = handle.informers().informer(&resource, &[]);
        if !kinds.add(resource.clone(), informer.cache().clone()) {
            return;
        }
        let (handle, kinds) = (handle.clone(), Arc::downgrade(kinds));
        informer.subscribe(Arc::new(move |change| {
            let Some(kinds) = kinds.upgrade() else { return };
            for key in affected(&kinds, &resource, change) {
                handle.enqueue(key);
            }
        }));
    }

    /// Whether an owner exists: by the caches, else by asking.
    async fn find(&self, cx: &Cx, namespace: &str, owner: &Owner) -> Result<Found, Error> {
        if let Some((_, entry)) = self.kinds.owner(cx.cluster(), namespace, owner) {
            let waits = entry.header.deleting && entry.header.has_finalizer(FOREGROUND);
            return Ok(if waits && owner.block {
                Found::Waiting
            } else {
                Found::Solid
            });
        }
        let memory = format!("{}/{namespace}/{}", cx.cluster(), owner.uid);
        if self.gone.lock().contains(&memory) {
            return Ok(Found::Gone);
        }
        let Some(resource) = self.kinds.resource(cx.cluster(), owner) else {
            // A kind that nobody serves: its objects may come back with it.
            return Err(Error::NotYet(format!(
                "nobody serves {} {}",
                owner.api_version, owner.kind
            )));
        };
        let place = if resource.namespaced {
            Some(namespace)
        } else {
            None
        };
        if resource.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot have an owner in a namespace.
            return Ok(Found::Gone);
        }
        match DynApi::new(cx.client(), resource, place)
            .get_partial(&owner.name)
            .await
        {
            Ok(found) if found.metadata.uid.as_deref() == Some(&*owner.uid) => Ok(Found::Solid),
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => {
                let mut gone = self.gone.lock();
                if gone.len() >= GONE {
                    gone.clear();
                }
                gone.insert(memory);
                Ok(Found::Gone)
            }
        }
    }

    /// An owner in foreground deletion: dependents that block it go first.
    async fn wait(&self, cx: &Cx, resource: &Resource, entry: &Entry) -> Result<(), Error> {
        let dependents = self.kinds.dependents(cx.cluster(), &entry.header.uid);
        let blocks = |e: &Entry| {
            e.header
                .owners
                .iter()
                .any(|o| o.uid == entry.header.uid && o.block)
        };
        if !dependents.iter().any(|(_, e)| blocks(e)) {
            return unfinalize(cx, resource, entry, FOREGROUND).await;
        }
        // Dependents are looked at on their own: they see that their owner waits.
        Ok(())
    }

    /// An owner whose dependents are to stay: they lose the reference to it.
    async fn orphan(&self, cx: &Cx, resource: &Resource, entry: &Entry) -> Result<(), Error> {
        for (r, dependent) in self.kinds.dependents(cx.cluster(), &entry.header.uid) {
            drop_owners(cx, &r, &dependent, &[&entry.header.uid]).await?;
        }
        unfinalize(cx, resource, entry, ORPHAN).await
    }
}

#[async_trait]
impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn queue(&self) -> &'static str {
        "garbage_collector_attempt_to_delete"
    }

    fn workers(&self) -> usize {
        32
    }

    fn wire(&self, w: &mut Wiring) {
        w.reads::<CustomResourceDefinition>();
    }

    fn start(&self, handle: &Handle) {
        for resource in kinds::built_in() {
            Self::follow(handle, &self.kinds, resource);
        }
        let crds = handle
            .informers()
            .informer(&Resource::of::<CustomResourceDefinition>(), &[]);
        let (own, kinds) = (handle.clone(), self.kinds.clone());
        crds.subscribe(Arc::new(move |change| {
            let Some(new) = &change.new else { return };
            let Ok(crd) = new.decode::<CustomResourceDefinition>() else {
                return;
            };
            if let Some(resource) = kinds::custom(&crd) {
                // The informers' lock is not held while a handler runs, but a handler must not wait for another
                // informer's either: a task of its own adds the kind.
                let (own, kinds) = (own.clone(), kinds.clone());
                tokio::spawn(async move {
                    Self::follow(&own, &kinds, resource);
                    own.informers().start();
                });
            }
        }));
        handle.informers().start();
    }

    fn gained(&self, handle: &Handle, ours: &dyn Fn(&ClusterId) -> bool) {
        for (resource, entry) in self.kinds.everything(ours) {
            if entry.header.deleting || !entry.header.owners.is_empty() {
                handle.enqueue(key_of(&resource, &entry));
            }
        }
    }

    async fn reconcile(&self, cx: &Cx, key: &Key) -> Result<Next, Error> {
        let Some((cache, name)) = self.kinds.parse(&key.name) else {
            return Ok(Next::Done);
        };
        let Some(entry) = cache.get(cx.cluster(), &key.namespace, name) else {
            return Ok(Next::Done);
        };
        let resource = cache.resource();
        if entry.header.deleting {
            if entry.header.has_finalizer(ORPHAN) {
                self.orphan(cx, resource, &entry).await?;
            } else if entry.header.has_finalizer(FOREGROUND) {
                self.wait(cx, resource, &entry).await?;
            }
            return Ok(Next::Done);
        }
        let mut found = Vec::with_capacity(entry.header.owners.len());
        for owner in &entry.header.owners {
            found.push((owner, self.find(cx, &entry.key.namespace, owner).await?));
        }
        let has_dependents = || !self.kinds.dependents(cx.cluster(), &entry.header.uid).is_empty();
        match plan::decide(&found, &entry.header, has_dependents) {
            Verdict::Keep => {}
            Verdict::Drop(uids) => drop_owners(cx, resource, &entry, &uids).await?,
            Verdict::Delete(propagation) => delete(cx, resource, &entry, propagation).await?,
        }
        Ok(Next::Done)
    }
}

fn api(cx: &Cx, resource: &Resource, entry: &Entry) -> DynApi {
    DynApi::new(cx.client(), resource.clone(), Some(&entry.key.namespace))
}

async fn delete(cx: &Cx, resource: &Resource, entry: &Entry, propagation: Propagation) -> Result<(), Error> {
    let params = DeleteParams {
        propagation_policy: Some(propagation),
        ..DeleteParams::default()
    };
    let params = params.uid(&*entry.header.uid).version(entry.revision.to_string());
    match api(cx, resource, entry).delete(&entry.key.name, &params).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Removes references to owners, by uid.
async fn drop_owners(cx: &Cx, resource: &Resource, entry: &Entry, uids: &[&str]) -> Result<(), Error> {
    let api = api(cx, resource, entry);
    let mut object = match api.get_partial(&entry.key.name).await {
        Ok(object) => object,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    if object.metadata.uid.as_deref() != Some(&*entry.header.uid) {
        return Ok(());
    }
    let owners = object.metadata.owner_references.take().unwrap_or_default();
    let left: Vec<_> = owners
        .into_iter()
        .filter(|o| !uids.contains(&o.uid.as_str()))
        .collect();
    let left = if left.is_empty() { json!(null) } else { json!(left) };
    let patch = json!({ "metadata": {
        "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version, "ownerReferences": left,
    }});
    match api.patch(&entry.key.name, "", &Patch::Merge(patch)).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Removes one finalizer.
async fn unfinalize(cx: &Cx, resource: &Resource, entry: &Entry, finalizer: &str) -> Result<(), Error> {
    let api = api(cx, resource, entry);
    let object = match api.get_partial(&entry.key.name).await {
        Ok(object) => object,
        Err(e) if e.is_not_found() => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let finalizers = object.metadata.finalizers.unwrap_or_default();
    if object.metadata.uid.as_deref() != Some(&*entry.header.uid)
        || !finalizers.iter().any(|f| f == finalizer)
    {
        return Ok(());
    }
    let left: Vec<_> = finalizers.into_iter().filter(|f| f != finalizer).collect();
    let left = if left.is_empty() { json!(null) } else { json!(left) };
    let patch = json!({ "metadata": {
        "uid": object.metadata.uid, "resourceVersion": object.metadata.resource_version, "finalizers": left,
    }});
    match api.patch(&entry.key.name, "", &Patch::Merge(patch)).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}

/// Objects that depend on an owner, with their kind.
pub(super) type Dependents = Vec<(Resource, Arc<Entry>)>;

/// A kind's cache.
pub(super) type KindCache = Arc<Cache>;
