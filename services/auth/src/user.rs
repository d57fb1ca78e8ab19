//! An authenticated user, as `authentication.k8s.io` describes one.

use std::collections::BTreeMap;

/// Members of this group may do everything in their own cluster, and nothing elsewhere.
pub const MASTERS: &str = "system:masters";
/// Every authenticated user.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Every unauthenticated user.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The unauthenticated user.
pub const ANONYMOUS: &str = "system:anonymous";
/// Every node.
pub const NODES: &str = "system:nodes";
/// Every service account.
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Who asks, in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's name, e.g. `system:node:web-1`.
    pub name: String,
    /// A unique id, where the source knows one.
    pub uid: String,
    /// Groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// Further facts, e.g. `authentication.kubernetes.io/pod-name`.
    pub extra: BTreeMap<String, Vec<String>>,
    /// How the user proved it; audited.
    pub source: AuthSource,
}

/// What an identity was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthSource {
    /// A client certificate of the cluster's own CA.
    Certificate,
    /// A service-account token signed by the cluster's own issuer.
    ServiceAccountToken,
    /// A bootstrap token of the cluster (`system:bootstrap:<id>`).
    BootstrapToken,
    /// A token of the managed service (API key, `marina` credential plugin).
    ServiceToken,
    /// A call inside this process: controllers, the provider. Cannot come from a socket.
    InProcess,
    /// No credential.
    Anonymous,
}

impl User {
    /// Who has shown no credential.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.into(),
            uid: String::new(),
            groups: vec![UNAUTHENTICATED.into()],
            extra: BTreeMap::new(),
            source: AuthSource::Anonymous,
        }
    }

    /// A part of the system calling in process, such as `system:kube-scheduler`.
    pub fn in_process(name: &str) -> Self {
        Self {
            name: name.into(),
            uid: String::new(),
            groups: vec![AUTHENTICATED.into()],
            extra: BTreeMap::new(),
            source: AuthSource::InProcess,
        }
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node's name, if this is a node (`system:node:<name>` in `system:nodes`).
    pub fn node_name(&self) -> Option<&str> {
        self.is_in(NODES)
            .then(|| self.name.strip_prefix("system:node:"))
            .flatten()
    }

    /// Namespace and name, if this is a service account.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }
}
