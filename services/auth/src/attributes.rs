//! What is asked for, as an authorizer sees it.

use crate::User;
use machinery::quote::go_quote as quote;

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
    /// The raw `fieldSelector` of a list, watch or deletecollection; empty if there is none. Nodes may list only their own
    /// pods, which they say this way.
    pub field_selector: &'a str,
}

impl<'a> Attributes<'a> {
    /// Whether this is about a resource rather than a path such as `/version`.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// A request about a resource, with everything else empty.
    pub fn resource(user: &'a User, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            group,
            version: "*",
            resource,
            subresource: "",
            namespace: "",
            name: "",
            path: "",
            field_selector: "",
        }
    }

    /// A request about a path.
    pub fn path(user: &'a User, verb: &'a str, path: &'a str) -> Self {
        Self {
            version: "",
            path,
            ..Self::resource(user, verb, "", "")
        }
    }

    /// The message of upstream's 403, e.g.
    /// `pods "x" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "ns"`.
    pub fn forbidden_message(&self, reason: &str) -> String {
        let user = quote(&self.user.name);
        let verb = self.verb;
        let mut what = if self.is_resource() {
            let resource = match self.subresource {
                "" => self.resource.to_owned(),
                sub => format!("{}/{sub}", self.resource),
            };
            let scope = match self.namespace {
                "" => "at the cluster scope".to_owned(),
                ns => format!("in the namespace {}", quote(ns)),
            };
            format!(
                "User {user} cannot {verb} resource {} in API group {} {scope}",
                quote(&resource),
                quote(self.group)
            )
        } else {
            format!("User {user} cannot {verb} path {}", quote(self.path))
        };
        if !reason.is_empty() {
            what.push_str(": ");
            what.push_str(reason);
        }
        if !self.is_resource() {
            return format!("forbidden: {what}");
        }
        let mut subject = self.resource.to_owned();
        if !self.group.is_empty() {
            subject.push('.');
            subject.push_str(self.group);
        }
        if !self.name.is_empty() {
            subject.push(' ');
            subject.push_str(&quote(self.name));
        }
        format!("{subject} is forbidden: {what}")
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
