//! What every cluster begins with: namespaces, the `kubernetes` Service and its endpoints, priority classes, RBAC's defaults.
//!
//! A new cluster must answer within 100 ms, so its objects are written in one transaction, and all that is the same in every
//! cluster is encoded once for each minor version and shared: same bytes, same allocation. Repeating it writes only what is
//! missing, so an older cluster gets what a newer version adds. Objects are therefore the same in all clusters up to their
//! uid: those that are shared have a uid made from their own key.

mod objects;

use crate::ApiServer;
use crate::status::{ApiError, Result};
use crate::storage;
use auth::Cluster;
use bytes::Bytes;
use machinery::Value;
use std::net::IpAddr;
use std::sync::Arc;
use store_api::{Compare, Consistency, Key, Op, Range, Span, Txn};

/// Operations of one transaction at most (etcd's default limit is 128).
const BATCH: usize = 120;

/// What is not the same in every cluster.
#[derive(Clone, Copy, Debug)]
pub struct BootstrapOptions {
    /// The one address that the `kubernetes` Service leads to inside the cluster: an ordinary address that every node binds
    /// to its tunnel. `None` leaves the endpoints away.
    pub endpoint: Option<(IpAddr, u16)>,
}

/// Objects that are the same in every cluster, encoded: storage prefix, namespace, name, bytes.
pub(crate) struct Shared(Vec<(&'static str, Option<String>, String, Bytes)>);

impl ApiServer {
    /// Writes what a cluster begins with, as far as it is missing. Repeating it is harmless. Returns how many objects
    /// were written.
    pub async fn bootstrap(&self, cluster: &Cluster, options: BootstrapOptions) -> Result<usize> {
        let shared = self.shared(cluster.minor)?;
        let mut wanted: Vec<(Key, Bytes)> = Vec::with_capacity(shared.0.len() + 8);
        for (prefix, namespace, name, bytes) in &shared.0 {
            let key = Key::object(&cluster.id, prefix, namespace.as_deref(), name);
            wanted.push((key.map_err(|e| ApiError::internal(e.to_string()))?, bytes.clone()));
        }
        let reader = self.reader(cluster);
        let now = self.clock().now_rfc3339();
        for (group, plural, object) in objects::of_cluster(cluster, options, &now)? {
            let kind = reader.kind(group, plural)?;
            let namespace = object
                .str_at(&["metadata", "namespace"])
                .unwrap_or_default()
                .to_owned();
            let name = object
                .str_at(&["metadata", "name"])
                .unwrap_or_default()
                .to_owned();
            let object = finish(object, &kind, self)?;
            wanted.push((
                storage::key(&cluster.id, &kind, &namespace, &name)?,
                storage::dump(&object, &kind)?,
            ));
        }
        self.write_missing(cluster, wanted).await
    }

    async fn write_missing(&self, cluster: &Cluster, mut wanted: Vec<(Key, Bytes)>) -> Result<usize> {
        let failed =
            |e: store_api::Error| ApiError::unavailable(format!("cannot write the first objects: {e}"));
        let position = self
            .store()
            .revision(&cluster.id, Consistency::Linearizable)
            .await
            .map_err(failed)?;
        if position.revision > 1 {
            // Not the first time: see what is there.
            let span = Span::prefix(&cluster.id, Bytes::from_static(b"/registry/"));
            let mut missing = Vec::new();
            for (key, bytes) in wanted {
                debug_assert!(span.contains(key.path()));
                let range = Range {
                    span: Span::one(&key),
                    at: None,
                    limit: 1,
                    consistency: Consistency::Linearizable,
                };
                if self
                    .store()
                    .range(range)
                    .await
                    .map_err(failed)?
                    .records
                    .is_empty()
                {
                    missing.push((key, bytes));
                }
            }
            wanted = missing;
        }
        let mut written = 0;
        for batch in wanted.chunks(BATCH) {
            let txn = Txn {
                compares: batch
                    .iter()
                    .map(|(key, _)| Compare::absent(key.clone()))
                    .collect(),
                then: batch
                    .iter()
                    .map(|(key, bytes)| Op::put(key.clone(), bytes.clone()))
                    .collect(),
                ..Txn::default()
            };
            if self
                .store()
                .txn(&cluster.id, txn)
                .await
                .map_err(failed)?
                .succeeded
            {
                written += batch.len();
                continue;
            }
            // Somebody writes the same at the same time: one by one, leaving what is there.
            for (key, bytes) in batch {
                let txn = Txn {
                    compares: vec![Compare::absent(key.clone())],
                    then: vec![Op::put(key.clone(), bytes.clone())],
                    ..Txn::default()
                };
                written += usize::from(
                    self.store()
                        .txn(&cluster.id, txn)
                        .await
                        .map_err(failed)?
                        .succeeded,
                );
            }
        }
        Ok(written)
    }

    fn shared(&self, minor: u32) -> Result<Arc<Shared>> {
        if let Some(shared) = self.0.bootstrap.lock().get(&minor) {
            return Ok(shared.clone());
        }
        let kinds = self.kinds(minor);
        let mut all = Vec::new();
        for (group, plural, object) in objects::of_every_cluster() {
            let Some(kind) = kinds.stored(group, plural) else {
                continue;
            };
            let namespace = object.str_at(&["metadata", "namespace"]).map(str::to_owned);
            let name = object
                .str_at(&["metadata", "name"])
                .unwrap_or_default()
                .to_owned();
            let object = finish(object, kind, self)?;
            all.push((
                kind.resource.storage_prefix,
                namespace,
                name,
                storage::dump(&object, kind)?,
            ));
        }
        let shared = Arc::new(Shared(all));
        self.0.bootstrap.lock().insert(minor, shared.clone());
        Ok(shared)
    }
}

/// Defaults an object and fills in what the server sets.
fn finish(mut object: Value, kind: &crate::kind::Kind, server: &ApiServer) -> Result<Value> {
    let now = server.clock().now();
    let cx = kind.rules_cx("", now);
    let status = object.get("status").cloned();
    let meta = crate::registry::meta::meta_mut(&mut object);
    if !meta.contains_key("uid") {
        meta.insert("uid", crate::registry::meta::new_uid());
    }
    if !meta.contains_key("creationTimestamp") {
        meta.insert("creationTimestamp", base::clock::rfc3339(now));
    }
    kind.rules.default(&mut object, &cx);
    kind.rules.prepare_create(&mut object, &cx);
    if let (Some(status), Value::Map(map)) = (status, &mut object) {
        map.insert("status", status);
    }
    crate::codec::canonical(object, kind)
}
