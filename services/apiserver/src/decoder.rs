//! Decoding of stored objects for the layer of identity, which must not know codecs.

use crate::codec;
use crate::kind::{Kind, KindTable};
use crate::storage;
use auth::Directory;
use base::ClusterId;
use machinery::Value;
use std::collections::HashMap;
use std::sync::Arc;
use store_api::Record;

/// The kinds of one minor version, by the names of their resources.
type Kinds = (Arc<KindTable>, HashMap<&'static str, Arc<Kind>>);

/// See [`auth::Decode`].
pub struct StoreDecoder {
    directory: Arc<dyn Directory>,
    tables: HashMap<u32, Kinds>,
}

impl StoreDecoder {
    /// A decoder for the clusters of a directory.
    pub fn new(directory: Arc<dyn Directory>) -> Arc<Self> {
        let tables = api::catalogs().map(|catalog| {
            let table = Arc::new(KindTable::new(catalog));
            let by_prefix = catalog
                .resources
                .iter()
                .filter_map(|r| Some((r.storage_prefix, table.stored(r.group, r.plural)?.clone())))
                .collect();
            (catalog.minor, (table, by_prefix))
        });
        Arc::new(Self {
            directory,
            tables: tables.collect(),
        })
    }

    fn kind(&self, cluster: &ClusterId, record: &Record) -> Option<&Arc<Kind>> {
        let minor = self
            .directory
            .cluster(cluster)
            .map_or(api::NEWEST_MINOR, |c| c.minor);
        let (_, by_prefix) = self
            .tables
            .get(&minor)
            .or_else(|| self.tables.get(&api::NEWEST_MINOR))?;
        let path = std::str::from_utf8(record.key.path())
            .ok()?
            .strip_prefix("/registry/")?;
        let mut at = path.len();
        while let Some(cut) = path[..at].rfind('/') {
            if let Some(kind) = by_prefix.get(&path[..cut]) {
                return Some(kind);
            }
            at = cut;
        }
        None
    }
}

impl auth::Decode for StoreDecoder {
    fn decode(&self, cluster: &ClusterId, record: &Record) -> Result<Value, String> {
        let kind = self
            .kind(cluster, record)
            .ok_or_else(|| format!("no kind is stored under {:?}", record.key))?;
        codec::from_storage(&record.value, kind).map_err(|e| e.to_string())
    }

    fn pod_node(&self, cluster: &ClusterId, record: &Record) -> Option<String> {
        let kind = self.kind(cluster, record)?;
        storage::header(record, kind)
            .field("spec.nodeName")
            .filter(|n| !n.is_empty())
            .map(str::to_owned)
    }
}
