//! Nobody grants what they do not hold, unless they may `escalate` the role or `bind` it
//! (Kubernetes documentation, "Using RBAC: privilege escalation prevention and bootstrapping").

use super::Rule;
use super::policy::{Policy, join_errors};
use super::rule::{quoted_list, uncovered};
use crate::User;
use machinery::Value;
use machinery::quote::go_quote as quote;

/// Why a role or binding may not be written; the text is the end of upstream's 403 message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscalationError {
    /// It grants more than the writer holds.
    #[error("{0}")]
    Grants(String),
    /// It aggregates, which can gather anything.
    #[error("must have cluster-admin privileges to use the aggregationRule")]
    Aggregates,
    /// The role does not exist, so that nobody knows what is granted.
    #[error("{0}")]
    NoRole(String),
}

fn full_authority() -> [Rule; 2] {
    let all = || -> Box<[Box<str>]> { Box::new(["*".into()]) };
    [
        Rule {
            verbs: all(),
            groups: all(),
            resources: all(),
            ..Rule::default()
        },
        Rule {
            verbs: all(),
            urls: all(),
            ..Rule::default()
        },
    ]
}

fn check(policy: &Policy, user: &User, namespace: &str, wanted: &[Rule]) -> Result<(), EscalationError> {
    let held = policy.held(user, namespace);
    let owners: Vec<&Rule> = held.rules.iter().collect();
    let missing = uncovered(&owners, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = missing.iter().map(Rule::describe).collect();
    lines.sort();
    lines.dedup();
    let mut message = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&user.name),
        quoted_list(&user.groups),
        lines.join("\n")
    );
    if !held.missing.is_empty() {
        message.push_str(&format!("; resolution errors: {}", join_errors(&held.missing)));
    }
    Err(EscalationError::Grants(message))
}

/// Whether `user` holds everything a Role or ClusterRole grants. `old` is the role before an update.
pub(crate) fn check_role(
    policy: &Policy,
    user: &User,
    namespace: &str,
    role: &Value,
    old: Option<&Value>,
) -> Result<(), EscalationError> {
    let rules: Vec<Rule> = role.list_at(&["rules"]).iter().map(Rule::from_value).collect();
    check(policy, user, namespace, &rules)?;
    let aggregates = |r: &Value| !r.list_at(&["aggregationRule", "clusterRoleSelectors"]).is_empty();
    if aggregates(role) || old.is_some_and(aggregates) {
        return check(policy, user, namespace, &full_authority()).map_err(|_| EscalationError::Aggregates);
    }
    Ok(())
}

/// Whether `user` holds everything that the role of a binding grants.
pub(crate) fn check_binding(
    policy: &Policy,
    user: &User,
    namespace: &str,
    binding: &Value,
) -> Result<(), EscalationError> {
    let kind = binding.str_at(&["roleRef", "kind"]).unwrap_or_default();
    let name = binding.str_at(&["roleRef", "name"]).unwrap_or_default();
    let scope = (!namespace.is_empty()).then_some(namespace);
    let Some(rules) = policy.role(kind, name, scope) else {
        let resource = if kind == "Role" { "roles" } else { "clusterroles" };
        return Err(EscalationError::NoRole(format!(
            "{resource}.rbac.authorization.k8s.io {} not found",
            quote(name)
        )));
    };
    check(policy, user, namespace, rules)
}
