//! How a controller gets a client for a cluster: `marinad` provides it.

use base::ClusterId;
use client::Client;
use store_api::Guard;

/// Who writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The role of the process, e.g. `kube-controller-manager`: the user agent, and with it the field manager.
    pub role: &'static str,
    /// The account of the part of it, e.g. `replicaset-controller`. Upstream's bootstrap policy binds the service account of this
    /// name in `kube-system` to the cluster role `system:controller:<name>`.
    pub component: &'static str,
}

/// Makes clients. Must be cheap: it is called for each reconciliation.
pub trait Clients: Send + Sync + 'static {
    /// A client of a cluster under an identity. With a guard every write is refused once the guard does not hold any
    /// more (the slot has another owner); a foreign API server has no such thing and ignores it.
    fn client(&self, cluster: &ClusterId, identity: &Identity, guard: Option<Guard>) -> Client;
}

/// One client for everything: a foreign cluster, or a test.
#[derive(Clone, Debug)]
pub struct OneClient(pub Client);

impl Clients for OneClient {
    fn client(&self, _cluster: &ClusterId, identity: &Identity, _guard: Option<Guard>) -> Client {
        self.0.clone().with_user_agent(identity.role)
    }
}
