//! A directory of clusters in memory.

use auth::{Cluster, Directory};
use base::{Clock, ClusterId};
use parking_lot::RwLock;
use pki::{ClusterKeys, ServingNames};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The domain of clusters' names.
pub(crate) const DOMAIN: &str = "marina.test";

/// Clusters that tests add and remove.
#[derive(Default)]
pub struct Clusters(RwLock<BTreeMap<ClusterId, Arc<Cluster>>>);

impl Clusters {
    /// Adds a cluster with keys of its own, reached at 127.0.0.1 and by its name.
    pub fn add(&self, id: &str, clock: &Clock) -> Arc<Cluster> {
        let id: ClusterId = id.parse().expect("a valid cluster id");
        let name = format!("{id}.{DOMAIN}");
        let names = ServingNames::cluster("cluster.local", std::slice::from_ref(&name), &[]);
        let keys = ClusterKeys::generate(&names, clock.now()).expect("keys can be made");
        let cluster = Arc::new(Cluster {
            id: id.clone(),
            minor: 37,
            keys: Arc::new(keys),
            issuer: format!("https://{name}"),
            address: None,
            service_cidr: "10.96.0.0/16".into(),
            pod_cidr: "10.64.0.0/12".into(),
            dns_domain: "cluster.local".into(),
        });
        self.0.write().insert(id, cluster.clone());
        cluster
    }

    /// Adds a cluster that somebody else described.
    pub fn insert(&self, cluster: Arc<Cluster>) {
        self.0.write().insert(cluster.id.clone(), cluster);
    }

    /// Removes a cluster.
    pub fn remove(&self, id: &ClusterId) {
        self.0.write().remove(id);
    }
}

impl Directory for Clusters {
    fn cluster(&self, id: &ClusterId) -> Option<Arc<Cluster>> {
        self.0.read().get(id).cloned()
    }

    fn by_server_name(&self, name: &str) -> Option<Arc<Cluster>> {
        let id: ClusterId = name.strip_suffix(DOMAIN)?.strip_suffix('.')?.parse().ok()?;
        self.cluster(&id)
    }

    /// Whoever comes without a name means the first cluster.
    fn by_address(&self, address: IpAddr) -> Option<Arc<Cluster>> {
        if address.is_loopback() {
            self.0.read().values().next().cloned()
        } else {
            None
        }
    }

    fn all(&self) -> Vec<Arc<Cluster>> {
        self.0.read().values().cloned().collect()
    }
}
