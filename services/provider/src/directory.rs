//! Which cluster a connection is for, and under which keys it is served.
//!
//! A map in memory, made from the records when the service starts and changed by the flows afterwards; a lookup takes
//! no lock that a writer holds for long. One entry is the record's few facts and the cluster's keys, nothing that runs.

use crate::records::{ClusterRecord, KeysRecord, RecordError, Records};
use auth::{Cluster, Directory};
use base::ClusterId;
use base64::prelude::{BASE64_STANDARD, Engine};
use parking_lot::RwLock;
use service_api::ClusterState;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The clusters of this process.
pub struct ClusterDirectory {
    domain: String,
    maps: RwLock<Maps>,
}

#[derive(Default)]
struct Maps {
    by_id: HashMap<ClusterId, Arc<Cluster>>,
    by_address: HashMap<IpAddr, ClusterId>,
}

impl ClusterDirectory {
    /// An empty directory; server names are `<id>.<domain>`.
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.to_ascii_lowercase(),
            maps: RwLock::default(),
        }
    }

    /// Reads every cluster that can be used.
    pub async fn load(&self, records: &Records) -> Result<(), RecordError> {
        for cluster in records.list::<ClusterRecord>(None).await? {
            if cluster.value.state == ClusterState::Deleting {
                continue;
            }
            let id = cluster.value.id.as_str().to_owned();
            let Some(keys) = records.get::<KeysRecord>(None, &id).await? else {
                continue;
            };
            match self.describe(&cluster.value, &keys.value) {
                Ok(described) => self.insert(described),
                Err(why) => tracing::error!(cluster = %id, %why, "cannot read the cluster's keys"),
            }
        }
        Ok(())
    }

    /// What the API server has to know of a cluster.
    pub fn describe(&self, record: &ClusterRecord, keys: &KeysRecord) -> Result<Arc<Cluster>, pki::PkiError> {
        let bytes = BASE64_STANDARD.decode(&keys.keys).unwrap_or_default();
        let keys = pki::ClusterKeys::from_bytes(&bytes)?;
        Ok(Arc::new(Cluster {
            id: record.id.clone(),
            minor: record.spec.version.minor(),
            keys: Arc::new(keys),
            issuer: format!("https://{}", self.server_name(&record.id)),
            address: Some(record.address),
            service_cidr: record.spec.service_cidr.clone(),
            pod_cidr: record.spec.pod_cidr.clone(),
            dns_domain: "cluster.local".into(),
        }))
    }

    /// The name a cluster is served under.
    pub fn server_name(&self, id: &ClusterId) -> String {
        format!("{id}.{}", self.domain)
    }

    /// Serves a cluster from now on.
    pub fn insert(&self, cluster: Arc<Cluster>) {
        let mut maps = self.maps.write();
        if let Some(address) = cluster.address {
            maps.by_address.insert(address, cluster.id.clone());
        }
        maps.by_id.insert(cluster.id.clone(), cluster);
    }

    /// Serves a cluster no longer.
    pub fn remove(&self, id: &ClusterId) {
        let mut maps = self.maps.write();
        if let Some(cluster) = maps.by_id.remove(id)
            && let Some(address) = cluster.address
        {
            maps.by_address.remove(&address);
        }
    }
}

impl Directory for ClusterDirectory {
    fn cluster(&self, id: &ClusterId) -> Option<Arc<Cluster>> {
        self.maps.read().by_id.get(id).cloned()
    }

    fn by_server_name(&self, name: &str) -> Option<Arc<Cluster>> {
        let name = name.to_ascii_lowercase();
        let label = name.strip_suffix(&self.domain)?.strip_suffix('.')?;
        self.cluster(&label.parse().ok()?)
    }

    fn by_address(&self, address: IpAddr) -> Option<Arc<Cluster>> {
        let maps = self.maps.read();
        maps.by_id.get(maps.by_address.get(&address)?).cloned()
    }

    fn all(&self) -> Vec<Arc<Cluster>> {
        self.maps.read().by_id.values().cloned().collect()
    }
}
