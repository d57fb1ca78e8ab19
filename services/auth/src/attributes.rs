//! What is asked for, as an authorizer sees it.

use crate::User;

/// One request, reduced to what authorization decides on (`authorization.k8s.io` SubjectAccessReview).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`, `bind`, `impersonate`, …; for
    /// non-resource requests the HTTP method in lower case.
    pub verb: &'a str,
    /// API group; empty for core.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural; empty for non-resource requests.
    pub resource: &'a str,
    /// Sub-resource or empty.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-scoped objects and lists across namespaces.
    pub namespace: &'a str,
    /// Name; empty for collections.
    pub name: &'a str,
    /// The path, for non-resource requests.
    pub path: &'a str,
}

impl Attributes<'_> {
    /// Whether this is about a resource rather than a path such as `/version`.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; the reason is for the audit log and for access reviews.
    Allow(String),
    /// No opinion of any authorizer: forbidden. The reason is shown to the user where it is not empty.
    NoOpinion(String),
    /// Explicitly denied.
    Deny(String),
}

impl Decision {
    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}
