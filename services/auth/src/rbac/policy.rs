//! All roles and bindings of one cluster, indexed by subject.

use super::Rule;
use crate::{Attributes, User};
use machinery::Value;
use machinery::quote::go_quote as quote;
use std::collections::HashMap;
use std::sync::Arc;

/// A role's rules, shared between bindings and, where equal, between clusters.
pub(crate) type Rules = Arc<[Rule]>;

/// A parsed role or binding.
#[derive(Clone, Debug)]
pub(crate) enum Parsed {
    /// A Role (with a namespace) or ClusterRole.
    Role {
        namespace: Option<Box<str>>,
        name: Box<str>,
        rules: Rules,
    },
    /// A RoleBinding (with a namespace) or ClusterRoleBinding.
    Binding(Arc<Binding>),
}

/// A parsed binding.
#[derive(Debug)]
pub(crate) struct Binding {
    namespace: Option<Box<str>>,
    name: Box<str>,
    role_kind: Box<str>,
    role_name: Box<str>,
    subjects: Vec<(Subject, Box<str>)>,
}

/// Who a binding speaks of. A service account is the user it authenticates as.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

impl Parsed {
    /// Reads an object of the group `rbac.authorization.k8s.io`; `None` if it is none of the four kinds.
    pub(crate) fn from_value(
        kind: &str,
        object: &Value,
        intern: impl FnOnce(Vec<Rule>) -> Rules,
    ) -> Option<Self> {
        let name = Box::from(object.str_at(&["metadata", "name"])?);
        let namespace = object
            .str_at(&["metadata", "namespace"])
            .filter(|ns| !ns.is_empty())
            .map(Box::from);
        match kind {
            "roles" | "clusterroles" => {
                let rules = object.list_at(&["rules"]).iter().map(Rule::from_value).collect();
                Some(Self::Role {
                    namespace,
                    name,
                    rules: intern(rules),
                })
            }
            "rolebindings" | "clusterrolebindings" => {
                let subjects = object
                    .list_at(&["subjects"])
                    .iter()
                    .filter_map(|s| subject(s, namespace.as_deref()))
                    .collect();
                Some(Self::Binding(Arc::new(Binding {
                    role_kind: object.str_at(&["roleRef", "kind"])?.into(),
                    role_name: object.str_at(&["roleRef", "name"])?.into(),
                    namespace,
                    name,
                    subjects,
                })))
            }
            _ => None,
        }
    }
}

/// The subject and how messages describe it.
fn subject(subject: &Value, binding_namespace: Option<&str>) -> Option<(Subject, Box<str>)> {
    let name = subject.str_at(&["name"])?;
    match subject.str_at(&["kind"])? {
        "User" => Some((Subject::User(name.into()), format!("User {}", quote(name)).into())),
        "Group" => Some((
            Subject::Group(name.into()),
            format!("Group {}", quote(name)).into(),
        )),
        "ServiceAccount" => {
            let own = subject.str_at(&["namespace"]).filter(|ns| !ns.is_empty());
            let ns = own.or(binding_namespace)?;
            let user = format!("system:serviceaccount:{ns}:{name}");
            let shown = format!("ServiceAccount {}", quote(&format!("{name}/{ns}")));
            Some((Subject::User(user.into()), shown.into()))
        }
        _ => None,
    }
}

/// One binding as one of its subjects sees it.
#[derive(Debug)]
struct Grant {
    binding: Arc<Binding>,
    /// Which of the binding's subjects.
    subject: usize,
    /// `None` if the role does not exist.
    rules: Option<Rules>,
}

type Grants = HashMap<Subject, Vec<Grant>>;

/// The index.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    cluster_roles: HashMap<Box<str>, Rules>,
    roles: HashMap<Box<str>, HashMap<Box<str>, Rules>>,
    everywhere: Grants,
    namespaces: HashMap<Box<str>, Grants>,
}

/// What a user holds in a namespace, and which roles could not be found on the way.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) rules: Vec<Rule>,
    pub(crate) missing: Vec<String>,
}

impl Policy {
    /// Builds the index.
    pub(crate) fn build<'p>(parsed: impl Iterator<Item = &'p Parsed>) -> Self {
        let mut policy = Self::default();
        let mut bindings = Vec::new();
        for item in parsed {
            match item {
                Parsed::Role {
                    namespace: None,
                    name,
                    rules,
                } => {
                    policy.cluster_roles.insert(name.clone(), rules.clone());
                }
                Parsed::Role {
                    namespace: Some(ns),
                    name,
                    rules,
                } => {
                    policy
                        .roles
                        .entry(ns.clone())
                        .or_default()
                        .insert(name.clone(), rules.clone());
                }
                Parsed::Binding(binding) => bindings.push(binding),
            }
        }
        for binding in bindings {
            let ns = binding.namespace.as_deref();
            let rules = policy.role(&binding.role_kind, &binding.role_name, ns).cloned();
            let grants = match ns {
                None => &mut policy.everywhere,
                Some(ns) => policy.namespaces.entry(ns.into()).or_default(),
            };
            for (at, (subject, _)) in binding.subjects.iter().enumerate() {
                let grant = Grant {
                    binding: binding.clone(),
                    subject: at,
                    rules: rules.clone(),
                };
                grants.entry(subject.clone()).or_default().push(grant);
            }
        }
        policy
    }

    /// The rules of a role that a binding in `namespace` (none: cluster-wide) refers to.
    pub(crate) fn role(&self, kind: &str, name: &str, namespace: Option<&str>) -> Option<&Rules> {
        match kind {
            "ClusterRole" => self.cluster_roles.get(name),
            "Role" => self.roles.get(namespace?)?.get(name),
            _ => None,
        }
    }

    fn grants<'s>(&'s self, user: &User, namespace: &str) -> Vec<&'s Grant> {
        let mut found = Vec::new();
        let mut subjects = vec![Subject::User(user.name.as_str().into())];
        subjects.extend(user.groups.iter().map(|g| Subject::Group(g.as_str().into())));
        let local = if namespace.is_empty() {
            None
        } else {
            self.namespaces.get(namespace)
        };
        for grants in [Some(&self.everywhere), local].into_iter().flatten() {
            for subject in &subjects {
                found.extend(grants.get(subject).into_iter().flatten());
            }
        }
        found
    }

    /// Whether some binding allows the request; the reason names it.
    pub(crate) fn allows(&self, asked: &Attributes<'_>) -> Result<String, String> {
        let mut missing = Vec::new();
        for grant in self.grants(asked.user, asked.namespace) {
            match &grant.rules {
                Some(rules) if rules.iter().any(|r| r.allows(asked)) => return Ok(grant.reason()),
                Some(_) => {}
                None => missing.push(grant.missing()),
            }
        }
        if missing.is_empty() {
            Err(String::new())
        } else {
            Err(format!("RBAC: {}", join_errors(&missing)))
        }
    }

    /// Everything a user holds in a namespace (empty: cluster-wide only).
    pub(crate) fn held(&self, user: &User, namespace: &str) -> Held {
        let mut held = Held::default();
        for grant in self.grants(user, namespace) {
            match &grant.rules {
                Some(rules) => held.rules.extend(rules.iter().cloned()),
                None => held.missing.push(grant.missing()),
            }
        }
        held
    }
}

/// Go's aggregate of errors: one alone, several in brackets.
pub(crate) fn join_errors(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

impl Grant {
    fn reason(&self) -> String {
        let b = &*self.binding;
        let role = format!("{} {}", b.role_kind, quote(&b.role_name));
        let subject = &b.subjects[self.subject].1;
        match &b.namespace {
            None => format!(
                "RBAC: allowed by ClusterRoleBinding {} of {role} to {subject}",
                quote(&b.name)
            ),
            Some(ns) => {
                let name = quote(&format!("{}/{ns}", b.name));
                format!("RBAC: allowed by RoleBinding {name} of {role} to {subject}")
            }
        }
    }

    fn missing(&self) -> String {
        let kind = if &*self.binding.role_kind == "Role" {
            "role"
        } else {
            "clusterrole"
        };
        format!(
            "{kind}.rbac.authorization.k8s.io {} not found",
            quote(&self.binding.role_name)
        )
    }
}
