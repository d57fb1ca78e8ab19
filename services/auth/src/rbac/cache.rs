//! Keeps the compiled policies of the clusters that were used last.
//!
//! A policy is valid as long as the cluster's revision, or failing that the revisions of its roles and bindings, are what they
//! were: nothing watches, so an idle cluster owns nothing but its entry, and the entry leaves when [`MAX_CLUSTERS`] others
//! were used since. Rules that are equal in several clusters (all default roles are) are held once.
//! Rejected: a watch for each cluster (a task each); a lifetime (a grant would work late).

use super::Rule;
use super::policy::{Parsed, Policy, Rules};
use crate::objects::{LookupError, Objects};
use base::ClusterId;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};
use store_api::{Record, Revision};

/// Policies kept at most; a default one takes about 50 KB besides the shared rules.
const MAX_CLUSTERS: usize = 1024;

/// Upstream's storage prefixes of the four kinds.
const KINDS: [&str; 4] = ["clusterroles", "clusterrolebindings", "roles", "rolebindings"];

/// The cache.
#[derive(Default)]
pub(crate) struct PolicyCache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    clusters: HashMap<ClusterId, Arc<Entry>>,
    used: HashMap<ClusterId, u64>,
    clock: u64,
    rules: HashMap<u64, Vec<Weak<[Rule]>>>,
}

struct Entry {
    /// The cluster's revision when the policy was last found valid.
    revision: Mutex<Revision>,
    /// The revisions of every role and binding, in key order.
    fingerprint: Vec<Revision>,
    parsed: HashMap<Bytes, (Revision, Option<Parsed>)>,
    policy: Arc<Policy>,
}

impl PolicyCache {
    /// The cluster's policy as of now.
    pub(crate) async fn policy(
        &self,
        objects: &Objects,
        cluster: &ClusterId,
    ) -> Result<Arc<Policy>, LookupError> {
        let old = self.touch(cluster);
        // Read the revision before the records: a change in between is then looked at again, never missed.
        let revision = objects.revision(cluster).await?;
        if let Some(entry) = old.as_ref().filter(|e| *e.revision.lock() == revision) {
            return Ok(entry.policy.clone());
        }
        let mut records: Vec<(&str, Arc<Record>)> = Vec::new();
        for kind in KINDS {
            let found = objects.records(cluster, kind, None).await?;
            records.extend(found.into_iter().map(|r| (kind, r)));
        }
        let fingerprint: Vec<Revision> = records.iter().map(|(_, r)| r.mod_revision).collect();
        if let Some(entry) = old.as_ref().filter(|e| e.fingerprint == fingerprint) {
            *entry.revision.lock() = revision;
            return Ok(entry.policy.clone());
        }
        let mut parsed = HashMap::with_capacity(records.len());
        for (kind, record) in &records {
            let path = record.key.path().clone();
            let known = old.as_ref().and_then(|e| e.parsed.get(&path));
            let item = match known {
                Some((at, item)) if *at == record.mod_revision => item.clone(),
                _ => {
                    let object = objects.decode(cluster, record)?;
                    Parsed::from_value(kind, &object, |rules| self.intern(rules))
                }
            };
            parsed.insert(path, (record.mod_revision, item));
        }
        let policy = Arc::new(Policy::build(parsed.values().filter_map(|(_, p)| p.as_ref())));
        let entry = Entry {
            revision: Mutex::new(revision),
            fingerprint,
            parsed,
            policy: policy.clone(),
        };
        self.inner
            .lock()
            .clusters
            .insert(cluster.clone(), Arc::new(entry));
        Ok(policy)
    }

    /// Marks a cluster as used, and drops the one that was not used for longest when there are too many.
    fn touch(&self, cluster: &ClusterId) -> Option<Arc<Entry>> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        inner.used.insert(cluster.clone(), now);
        if inner.used.len() > MAX_CLUSTERS {
            let oldest = inner
                .used
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(c, _)| c.clone());
            if let Some(oldest) = oldest {
                inner.used.remove(&oldest);
                inner.clusters.remove(&oldest);
            }
            inner.rules.retain(|_, list| {
                list.retain(|w| w.strong_count() > 0);
                !list.is_empty()
            });
        }
        inner.clusters.get(cluster).cloned()
    }

    /// The shared copy of equal rules.
    fn intern(&self, rules: Vec<Rule>) -> Rules {
        let mut hasher = DefaultHasher::new();
        rules.hash(&mut hasher);
        let hash = hasher.finish();
        let mut inner = self.inner.lock();
        let list = inner.rules.entry(hash).or_default();
        list.retain(|w| w.strong_count() > 0);
        if let Some(known) = list
            .iter()
            .filter_map(Weak::upgrade)
            .find(|known| known[..] == rules[..])
        {
            return known;
        }
        let made: Rules = rules.into();
        list.push(Arc::downgrade(&made));
        made
    }
}
