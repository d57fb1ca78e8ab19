//! Layer 4 load balancers.

use crate::{CloudError, Result, Tags};
use async_trait::async_trait;
use base::ClusterId;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where a listener's connections go: a node's address and node port, or a pod's address and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Address and port.
    pub addr: SocketAddr,
    /// The zone it is in, if known.
    pub zone: Option<String>,
}

/// How a load balancer finds out which targets to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthCheck {
    /// A TCP connection to the target's own port.
    Connect,
    /// An HTTP GET that must answer 200, on this port of the target's address
    /// (`Service.spec.healthCheckNodePort`, path `/healthz`).
    Http {
        /// The port.
        port: u16,
        /// The path.
        path: String,
    },
}

/// One port of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port that clients connect to.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where connections go, in any order, without repetition.
    pub targets: Vec<Target>,
    /// How targets are checked.
    pub health: HealthCheck,
}

/// What a load balancer should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerSpec {
    /// Its name, unique for each cluster; the key of `ensure`. At most 63 characters of `[a-z0-9-]`.
    pub name: String,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its ports, without repetition of (port, protocol).
    pub listeners: Vec<Listener>,
    /// Ranges (`10.0.0.0/8`) that may connect; empty means everybody.
    pub source_ranges: Vec<String>,
    /// Whose it is.
    pub tags: Tags,
}

impl LoadBalancerSpec {
    /// The checks that need no cloud; providers call it first.
    pub fn validate(&self) -> Result<()> {
        if !crate::instances::is_dns_label(&self.name) {
            return Err(CloudError::Invalid(format!(
                "name {:?} is no DNS label",
                self.name
            )));
        }
        let mut seen = std::collections::BTreeSet::new();
        for listener in &self.listeners {
            if listener.port == 0 || !seen.insert((listener.port, listener.protocol)) {
                return Err(CloudError::Invalid(format!(
                    "port {} is zero or listed twice",
                    listener.port
                )));
            }
        }
        Ok(())
    }
}

/// A load balancer as the cloud sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// The cloud's own id.
    pub id: String,
    /// What it is now, as last ensured.
    pub spec: LoadBalancerSpec,
    /// Its address, once it has one. It never changes while the load balancer exists.
    pub address: Option<IpAddr>,
    /// Its name in DNS, on clouds that give one instead of an address.
    pub hostname: Option<String>,
}

/// Layer 4 load balancers.
#[async_trait]
pub trait LoadBalancers: Send + Sync {
    /// Makes the load balancer of this cluster and name be as specified: creates it or changes it in place.
    /// Connections to targets that stay are not broken.
    async fn ensure(&self, spec: &LoadBalancerSpec) -> Result<LoadBalancer>;

    /// One load balancer. `NotFound` once it is gone.
    async fn get(&self, cluster: &ClusterId, name: &str) -> Result<LoadBalancer>;

    /// All load balancers that have every one of these tags, ordered by cluster and name.
    async fn list(&self, tags: &Tags) -> Result<Vec<LoadBalancer>>;

    /// Begins (or goes on with) removing it. `NotFound` means finished.
    async fn delete(&self, cluster: &ClusterId, name: &str) -> Result<()>;
}
