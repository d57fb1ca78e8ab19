//! The kinds that the garbage collector follows.

use super::{Dependents, KindCache};
use api::apiextensions::v1::CustomResourceDefinition;
use base::ClusterId;
use client::Resource;
use parking_lot::RwLock;
use runtime::Entry;
use runtime::header::Owner;
use std::collections::HashMap;
use std::sync::Arc;

/// Kinds by `<plural>.<group>`.
#[derive(Debug, Default)]
pub(super) struct Kinds(RwLock<HashMap<String, KindCache>>);

impl Kinds {
    /// Adds a kind; false if it is followed already.
    pub(super) fn add(&self, resource: Resource, cache: KindCache) -> bool {
        self.0
            .write()
            .insert(format!("{}.{}", resource.plural, resource.group), cache)
            .is_none()
    }

    /// Kind and name of a key.
    pub(super) fn parse<'a>(&self, name: &'a str) -> Option<(KindCache, &'a str)> {
        let (kind, name) = name.split_once('/')?;
        Some((self.0.read().get(kind)?.clone(), name))
    }

    /// Objects of a cluster that name a uid as owner.
    pub(super) fn dependents(&self, cluster: &ClusterId, uid: &str) -> Dependents {
        let all: Vec<KindCache> = self.0.read().values().cloned().collect();
        let owned = |c: &KindCache| {
            let resource = c.resource().clone();
            c.owned(cluster, uid)
                .into_iter()
                .map(move |e| (resource.clone(), e))
        };
        all.iter().flat_map(owned).collect()
    }

    /// All objects of some clusters.
    pub(super) fn everything(&self, ours: &dyn Fn(&ClusterId) -> bool) -> Dependents {
        let all: Vec<KindCache> = self.0.read().values().cloned().collect();
        let mut found = Vec::new();
        for cache in all {
            for cluster in cache.clusters().into_iter().filter(|c| ours(c)) {
                let entries = cache.list(&cluster, None, |_| true);
                found.extend(entries.into_iter().map(|e| (cache.resource().clone(), e)));
            }
        }
        found
    }

    /// The resource that serves an owner's kind.
    pub(super) fn resource(&self, _cluster: &ClusterId, owner: &Owner) -> Option<Resource> {
        let all = self.0.read();
        let found = all
            .values()
            .map(|c| c.resource())
            .find(|r| r.group == owner.group() && r.kind == *owner.kind);
        found.cloned()
    }

    /// The owner itself, if the caches show it with the same uid.
    pub(super) fn owner(
        &self,
        cluster: &ClusterId,
        namespace: &str,
        owner: &Owner,
    ) -> Option<(Resource, Arc<Entry>)> {
        let cache = {
            let all = self.0.read();
            let found = all
                .values()
                .find(|c| c.resource().group == owner.group() && c.resource().kind == *owner.kind);
            found?.clone()
        };
        let place = if cache.resource().namespaced {
            namespace
        } else {
            ""
        };
        let entry = cache
            .get(cluster, place, &owner.name)
            .filter(|e| e.header.uid == owner.uid)?;
        Some((cache.resource().clone(), entry))
    }
}

/// Built-in kinds that can be listed, watched and deleted. Events have no owners and are too many.
pub(super) fn built_in() -> Vec<Resource> {
    let mut all: Vec<Resource> = Vec::new();
    for r in &api::newest().resources {
        let can = |verb: &str| r.verbs.contains(&verb);
        let known = all.iter().any(|k| k.group == r.group && k.plural == r.plural);
        if !can("list") || !can("watch") || !can("delete") || r.plural == "events" || known {
            continue;
        }
        all.push(Resource {
            group: r.group.into(),
            version: r.version.into(),
            kind: r.kind.into(),
            plural: r.plural.into(),
            namespaced: r.namespaced,
        });
    }
    all
}

/// The kind that a CustomResourceDefinition serves.
pub(super) fn custom(crd: &CustomResourceDefinition) -> Option<Resource> {
    let version = crd.spec.versions.iter().find(|v| v.served)?;
    Some(Resource {
        group: crd.spec.group.clone().into(),
        version: version.name.clone().into(),
        kind: crd.spec.names.kind.clone().into(),
        plural: crd.spec.names.plural.clone().into(),
        namespaced: crd.spec.scope == "Namespaced",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_can_own_or_be_owned_is_followed_once() {
        let all = built_in();
        let has = |g: &str, p: &str| all.iter().filter(|r| r.group == g && r.plural == p).count();
        assert_eq!(
            (has("", "pods"), has("apps", "replicasets"), has("batch", "jobs")),
            (1, 1, 1)
        );
        assert_eq!((has("", "events"), has("", "bindings")), (0, 0));
    }
}
