//! Clients for the system's own parts: the API server's handler in this process.

use apiserver::{ApiServer, InProcess};
use auth::User;
use base::ClusterId;
use client::Client;
use runtime::{Clients, Identity};
use std::sync::Arc;
use store_api::Guard;

/// Makes clients of the API server in this process.
pub(crate) struct InProcessClients(pub(crate) ApiServer);

impl Clients for InProcessClients {
    fn client(&self, cluster: &ClusterId, identity: &Identity, guard: Option<Guard>) -> Client {
        let mut transport = InProcess::new(self.0.clone(), cluster.clone(), user(identity));
        if let Some(guard) = guard {
            transport = transport.fenced(guard);
        }
        Client::new(Arc::new(transport)).with_user_agent(identity.role)
    }
}

/// Who a part is inside a cluster: the users and service accounts that upstream's bootstrap policy gives its rights to.
fn user(identity: &Identity) -> User {
    match identity.role {
        "kube-controller-manager" | "cloud-controller-manager" if identity.component != identity.role => {
            let mut user = User::in_process(&format!(
                "system:serviceaccount:kube-system:{}",
                identity.component
            ));
            user.groups.push(auth::user::SERVICE_ACCOUNTS.into());
            user.groups.push("system:serviceaccounts:kube-system".into());
            user
        }
        // Simulated nodes: one fleet acts for all of them, so it cannot be any single node's user.
        "kubelet" => {
            let mut user = User::in_process("system:marina:simulated-nodes");
            user.groups.push(auth::user::MASTERS.into());
            user
        }
        role => User::in_process(&format!("system:{role}")),
    }
}
