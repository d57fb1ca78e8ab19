//! The clusters this process serves, and under which keys.

use base::ClusterId;
use std::net::IpAddr;
use std::sync::Arc;

/// What the API server must know of a cluster to serve it. Immutable; replaced as a whole when something changes.
#[derive(Debug)]
pub struct Cluster {
    /// Its identity.
    pub id: ClusterId,
    /// Minor version it serves (36 or 37): kinds and fields follow it.
    pub minor: u32,
    /// Its own keys: CA, service-account signing keys, serving certificate.
    pub keys: Arc<pki::ClusterKeys>,
    /// The issuer in its service-account tokens, e.g. `https://<id>.<domain>`.
    pub issuer: String,
    /// The address of its own that it is reached by, if it has one (a loopback address in `dev`).
    pub address: Option<IpAddr>,
    /// Range of ClusterIPs, e.g. `10.96.0.0/16`. Its first address is the `kubernetes` Service, its tenth is DNS.
    pub service_cidr: String,
    /// Range of pod addresses that nodes get their `podCIDR` from.
    pub pod_cidr: String,
    /// Domain of in-cluster names, normally `cluster.local`.
    pub dns_domain: String,
}

/// Finds clusters. Implemented by the provider; looked at for each connection.
pub trait Directory: Send + Sync + 'static {
    /// By id.
    fn cluster(&self, id: &ClusterId) -> Option<Arc<Cluster>>;
    /// By TLS server name: `<cluster-id>.<domain>`.
    fn by_server_name(&self, name: &str) -> Option<Arc<Cluster>>;
    /// By destination address, for clients that send no server name.
    fn by_address(&self, address: IpAddr) -> Option<Arc<Cluster>>;
    /// Every cluster.
    fn all(&self) -> Vec<Arc<Cluster>>;
}
