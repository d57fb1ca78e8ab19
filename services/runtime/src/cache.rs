//! What informers know: the objects of one kind in all clusters, as encoded bytes with small indices.
//!
//! One value for each kind, not for each cluster: a cluster without objects of the kind has no entry at all. Typed
//! objects are decoded when asked for and never kept. Indices: by owner's uid, and by the fields the kind declares.

use crate::header::{self, FieldPath, Header};
use crate::key::Key;
use api::Object;
use base::ClusterId;
use bytes::Bytes;
use client::Resource;
use machinery::selector::Selector;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One cached object.
#[derive(Debug)]
pub struct Entry {
    /// Which object.
    pub key: Key,
    /// Its resource version.
    pub revision: i64,
    /// As stored or received.
    pub value: Bytes,
    /// What is known without decoding.
    pub header: Header,
}

/// A cached object that cannot be decoded; reconciling on is unsafe, since it would look deleted.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cached {kind} {key}: {error}")]
pub struct CacheError {
    /// Which object.
    pub key: Key,
    /// Its kind.
    pub kind: &'static str,
    /// What is wrong.
    pub error: String,
}

impl Entry {
    /// The typed object, with its resource version.
    pub fn decode<K: Object>(&self) -> Result<K, CacheError> {
        let mut object = K::decode(&self.value).map_err(|e| CacheError {
            key: self.key.clone(),
            kind: K::KIND,
            error: e.to_string(),
        })?;
        object.meta_mut().resource_version = Some(self.revision.to_string());
        Ok(object)
    }
}

/// A change that was applied to a cache.
#[derive(Clone, Debug)]
pub struct Change {
    /// Whose.
    pub cluster: ClusterId,
    /// Before; `None` if it is new.
    pub old: Option<Arc<Entry>>,
    /// After; `None` if it was deleted.
    pub new: Option<Arc<Entry>>,
}

impl Change {
    /// The newest state there is: after the change, or the last before a deletion.
    pub fn entry(&self) -> &Arc<Entry> {
        self.new
            .as_ref()
            .or(self.old.as_ref())
            .expect("a change has a before or an after")
    }
    /// Before and after, as far as they exist.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.old.iter().chain(self.new.iter())
    }
}

type Local = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct Objects {
    objects: BTreeMap<Local, Arc<Entry>>,
    by_owner: HashMap<Box<str>, Vec<Local>>,
    by_field: HashMap<(usize, Box<str>), Vec<Local>>,
    observed: i64,
}

impl Objects {
    fn link(&mut self, local: &Local, header: &Header) {
        for owner in &header.owners {
            self.by_owner
                .entry(owner.uid.clone())
                .or_default()
                .push(local.clone());
        }
        for (at, value) in header.fields.iter().enumerate().filter(|(_, v)| !v.is_empty()) {
            self.by_field
                .entry((at, value.clone()))
                .or_default()
                .push(local.clone());
        }
    }

    fn unlink(&mut self, local: &Local, header: &Header) {
        fn drop_from<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<Local>>, key: &K, local: &Local) {
            if let Some(list) = map.get_mut(key) {
                if let Some(at) = list.iter().position(|l| l == local) {
                    list.swap_remove(at);
                }
                if list.is_empty() {
                    map.remove(key);
                }
            }
        }
        for owner in &header.owners {
            drop_from(&mut self.by_owner, &owner.uid, local);
        }
        for (at, value) in header.fields.iter().enumerate().filter(|(_, v)| !v.is_empty()) {
            drop_from(&mut self.by_field, &(at, value.clone()), local);
        }
    }

    /// Reads the headers again, after a field was added.
    fn read_again(&mut self, fields: &[FieldPath]) {
        let all: Vec<_> = self.objects.iter().map(|(l, e)| (l.clone(), e.clone())).collect();
        for (local, entry) in all {
            // It could be read when it was put.
            let Ok(header) = header::read(&entry.value, fields) else {
                continue;
            };
            self.unlink(&local, &entry.header);
            self.link(&local, &header);
            let entry = Entry {
                key: entry.key.clone(),
                revision: entry.revision,
                value: entry.value.clone(),
                header,
            };
            self.objects.insert(local, Arc::new(entry));
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    clusters: HashMap<ClusterId, Objects>,
    fields: Vec<FieldPath>,
}

/// All objects of one kind.
#[derive(Debug)]
pub struct Cache {
    resource: Resource,
    inner: RwLock<Inner>,
}

impl Cache {
    /// An empty cache.
    pub fn new(resource: Resource, fields: Vec<FieldPath>) -> Self {
        Self {
            resource,
            inner: RwLock::new(Inner {
                clusters: HashMap::new(),
                fields,
            }),
        }
    }

    /// Which kind.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Adds a field to index by. Objects that are there already are indexed too: whoever shares the informer may have
    /// started it long before.
    pub(crate) fn index(&self, field: &FieldPath) {
        let mut inner = self.inner.write();
        if inner.fields.contains(field) {
            return;
        }
        inner.fields.push(field.clone());
        let Inner { clusters, fields } = &mut *inner;
        for objects in clusters.values_mut() {
            objects.read_again(fields);
        }
    }

    /// Puts an object; `None` if the cache already had this version or a newer one.
    pub(crate) fn put(
        &self,
        key: Key,
        revision: i64,
        value: Bytes,
    ) -> Result<Option<Change>, header::HeaderError> {
        let mut inner = self.inner.write();
        let header = header::read(&value, &inner.fields)?;
        let objects = inner.clusters.entry(key.cluster.clone()).or_default();
        objects.observed = objects.observed.max(revision);
        let local = (key.namespace.clone(), key.name.clone());
        let old = objects.objects.get(&local).cloned();
        if let Some(old) = &old {
            if old.revision >= revision && old.header.uid == header.uid {
                return Ok(None);
            }
            objects.unlink(&local, &old.header);
        }
        objects.link(&local, &header);
        let cluster = key.cluster.clone();
        let new = Arc::new(Entry {
            key,
            revision,
            value,
            header,
        });
        objects.objects.insert(local, new.clone());
        Ok(Some(Change {
            cluster,
            old,
            new: Some(new),
        }))
    }

    /// Removes an object.
    pub(crate) fn delete(&self, key: &Key, revision: i64) -> Option<Change> {
        let mut inner = self.inner.write();
        let objects = inner.clusters.get_mut(&key.cluster)?;
        objects.observed = objects.observed.max(revision);
        let local = (key.namespace.clone(), key.name.clone());
        let old = objects.objects.remove(&local)?;
        objects.unlink(&local, &old.header);
        // `observed` must outlive the last object for a while (expectations compare with it); the few bytes of an
        // emptied cluster go with `forget`.
        Some(Change {
            cluster: key.cluster.clone(),
            old: Some(old),
            new: None,
        })
    }

    /// Notes that everything up to a revision has been seen.
    pub(crate) fn progress(&self, cluster: &ClusterId, revision: i64) {
        let mut inner = self.inner.write();
        let objects = inner.clusters.entry(cluster.clone()).or_default();
        objects.observed = objects.observed.max(revision);
    }

    /// Forgets a whole cluster.
    pub(crate) fn forget(&self, cluster: &ClusterId) -> Vec<Change> {
        let gone = self.inner.write().clusters.remove(cluster);
        let objects = gone.map(|o| o.objects).unwrap_or_default();
        objects
            .into_values()
            .map(|old| Change {
                cluster: cluster.clone(),
                old: Some(old),
                new: None,
            })
            .collect()
    }

    /// The clusters that have objects of this kind.
    pub fn clusters(&self) -> Vec<ClusterId> {
        let inner = self.inner.read();
        inner
            .clusters
            .iter()
            .filter(|(_, o)| !o.objects.is_empty())
            .map(|(c, _)| c.clone())
            .collect()
    }

    /// How many objects there are in all clusters.
    pub fn len(&self) -> usize {
        self.inner.read().clusters.values().map(|o| o.objects.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a cluster's changes up to a revision have arrived.
    pub fn has_observed(&self, cluster: &ClusterId, revision: i64) -> bool {
        self.inner
            .read()
            .clusters
            .get(cluster)
            .is_some_and(|o| o.observed >= revision)
    }

    /// One object.
    pub fn get(&self, cluster: &ClusterId, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let local: Local = (namespace.into(), name.into());
        self.inner
            .read()
            .clusters
            .get(cluster)?
            .objects
            .get(&local)
            .cloned()
    }

    /// Objects of a cluster, or of one namespace, for which `keep` is true, by namespace and name.
    pub fn list(
        &self,
        cluster: &ClusterId,
        namespace: Option<&str>,
        mut keep: impl FnMut(&Entry) -> bool,
    ) -> Vec<Arc<Entry>> {
        let inner = self.inner.read();
        let Some(objects) = inner.clusters.get(cluster) else {
            return Vec::new();
        };
        let from: Local = (namespace.unwrap_or("").into(), "".into());
        objects
            .objects
            .range(from..)
            .take_while(|((ns, _), _)| namespace.is_none_or(|want| &**ns == want))
            .filter(|(_, e)| keep(e))
            .map(|(_, e)| e.clone())
            .collect()
    }

    /// Objects whose labels a selector matches.
    pub fn select(
        &self,
        cluster: &ClusterId,
        namespace: Option<&str>,
        selector: &Selector,
    ) -> Vec<Arc<Entry>> {
        self.list(cluster, namespace, |e| e.header.matches(selector))
    }

    /// Objects that name this uid as an owner.
    pub fn owned(&self, cluster: &ClusterId, uid: &str) -> Vec<Arc<Entry>> {
        let inner = self.inner.read();
        let Some(objects) = inner.clusters.get(cluster) else {
            return Vec::new();
        };
        let locals = objects.by_owner.get(uid).map(Vec::as_slice).unwrap_or_default();
        locals
            .iter()
            .filter_map(|l| objects.objects.get(l).cloned())
            .collect()
    }

    /// Objects whose indexed field has this value.
    pub fn by_field(&self, cluster: &ClusterId, field: &FieldPath, value: &str) -> Vec<Arc<Entry>> {
        let inner = self.inner.read();
        let Some(at) = inner.fields.iter().position(|f| f == field) else {
            return Vec::new();
        };
        let Some(objects) = inner.clusters.get(cluster) else {
            return Vec::new();
        };
        let locals = objects
            .by_field
            .get(&(at, value.into()))
            .map(Vec::as_slice)
            .unwrap_or_default();
        locals
            .iter()
            .filter_map(|l| objects.objects.get(l).cloned())
            .collect()
    }

    /// Keys of all objects in clusters for which `keep` is true.
    pub fn keys(&self, keep: impl Fn(&ClusterId) -> bool) -> Vec<Key> {
        let inner = self.inner.read();
        let chosen = inner.clusters.iter().filter(|(c, _)| keep(c));
        chosen
            .flat_map(|(_, o)| o.objects.values().map(|e| e.key.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::POD_NODE;

    fn pod(uid: &str, owner: &str, node: &str) -> Bytes {
        format!(
            r#"{{"metadata":{{"uid":"{uid}","ownerReferences":[{{"uid":"{owner}"}}]}},"spec":{{"nodeName":"{node}"}}}}"#
        )
        .into()
    }

    fn pods() -> Resource {
        Resource {
            group: "".into(),
            version: "v1".into(),
            kind: "Pod".into(),
            plural: "pods".into(),
            namespaced: true,
        }
    }

    #[test]
    fn indices_follow_every_change() {
        let c: ClusterId = "c".parse().unwrap();
        let cache = Cache::new(pods(), vec![POD_NODE]);
        let key = Key::new(&c, "ns", "a");
        assert!(cache.put(key.clone(), 5, pod("u", "o", "n1")).unwrap().is_some());
        assert!(
            cache.put(key.clone(), 5, pod("u", "o", "n1")).unwrap().is_none(),
            "a repeat is no change"
        );
        assert_eq!(
            (
                cache.owned(&c, "o").len(),
                cache.by_field(&c, &POD_NODE, "n1").len()
            ),
            (1, 1)
        );
        cache.put(key.clone(), 6, pod("u", "p", "n2")).unwrap();
        assert_eq!((cache.owned(&c, "o").len(), cache.owned(&c, "p").len()), (0, 1));
        assert_eq!(cache.by_field(&c, &POD_NODE, "n1").len(), 0);
        assert!(cache.has_observed(&c, 6) && !cache.has_observed(&c, 7));
        cache.delete(&key, 8).unwrap();
        assert!(cache.is_empty() && cache.owned(&c, "p").is_empty() && cache.has_observed(&c, 8));
    }

    #[test]
    fn a_field_that_is_named_late_indexes_what_is_there() {
        let c: ClusterId = "c".parse().unwrap();
        let cache = Cache::new(pods(), vec![]);
        let key = Key::new(&c, "ns", "a");
        cache.put(key.clone(), 5, pod("u", "o", "n1")).unwrap();
        cache.index(&POD_NODE);
        assert_eq!(cache.by_field(&c, &POD_NODE, "n1").len(), 1);
        assert_eq!(cache.owned(&c, "o").len(), 1, "and nothing twice");
        cache.put(key, 6, pod("u", "o", "n2")).unwrap();
        assert!(cache.by_field(&c, &POD_NODE, "n1").is_empty());
    }

    #[test]
    fn a_namespace_is_listed_alone() {
        let c: ClusterId = "c".parse().unwrap();
        let cache = Cache::new(pods(), vec![]);
        for (i, ns) in ["a", "ab", "b"].into_iter().enumerate() {
            cache
                .put(
                    Key::new(&c, ns, "x"),
                    i64::try_from(i).unwrap() + 1,
                    pod(ns, "", ""),
                )
                .unwrap();
        }
        assert_eq!(cache.list(&c, Some("a"), |_| true).len(), 1);
        assert_eq!(cache.list(&c, None, |_| true).len(), 3);
    }
}
