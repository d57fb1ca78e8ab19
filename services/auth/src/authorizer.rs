//! Whether a user may do something in one cluster: `system:masters`, then the Node authorizer, then RBAC. The first yes
//! decides; without one the answer is no.

use crate::node::NodeAuthorizer;
use crate::objects::{LookupError, Objects};
use crate::rbac::{EscalationError, PolicyCache, Rule, check_binding, check_role};
use crate::user::MASTERS;
use crate::{Attributes, Decision, User};
use base::ClusterId;
use machinery::Value;

/// The authorizer of every cluster of the process.
pub struct Authorizer {
    objects: Objects,
    node: NodeAuthorizer,
    policies: PolicyCache,
}

/// What SelfSubjectRulesReview shows.
#[derive(Clone, Debug, Default)]
pub struct ResolvedRules {
    /// Rules about resources.
    pub resource: Vec<Rule>,
    /// Rules about paths.
    pub non_resource: Vec<Rule>,
    /// Whether the lists may lack something.
    pub incomplete: bool,
    /// Why; empty if nothing went wrong.
    pub evaluation_error: String,
}

/// Why a role or binding may not be written, or could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// It must not be written: 403 with this text.
    #[error(transparent)]
    Forbidden(#[from] EscalationError),
    /// It could not be judged.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl Authorizer {
    /// An authorizer that reads roles, bindings and pods through `objects`.
    pub fn new(objects: Objects) -> Self {
        Self {
            objects,
            node: NodeAuthorizer::new(),
            policies: PolicyCache::default(),
        }
    }

    /// Decides. The user must have been authenticated for this same cluster.
    pub async fn authorize(
        &self,
        cluster: &ClusterId,
        asked: &Attributes<'_>,
    ) -> Result<Decision, LookupError> {
        if asked.user.is_in(MASTERS) {
            return Ok(Decision::Allow(String::new()));
        }
        let by_node = self.node.authorize(&self.objects, cluster, asked).await?;
        let reason = match by_node {
            Decision::NoOpinion(reason) => reason,
            decided => return Ok(decided),
        };
        let policy = self.policies.policy(&self.objects, cluster).await?;
        Ok(match policy.allows(asked) {
            Ok(why) => Decision::Allow(why),
            Err(why) => {
                let reasons: Vec<&str> = [reason.as_str(), why.as_str()]
                    .into_iter()
                    .filter(|r| !r.is_empty())
                    .collect();
                Decision::NoOpinion(reasons.join("\n"))
            }
        })
    }

    /// Everything a user may do in a namespace, as far as rules tell.
    pub async fn rules_for(
        &self,
        cluster: &ClusterId,
        user: &User,
        namespace: &str,
    ) -> Result<ResolvedRules, LookupError> {
        let mut resolved = ResolvedRules::default();
        let mut errors = Vec::new();
        if user.node_name().is_some() {
            resolved.incomplete = true;
            errors.push("node authorizer does not support user rule resolution".to_owned());
        }
        let held = self
            .policies
            .policy(&self.objects, cluster)
            .await?
            .held(user, namespace);
        for rule in held.rules {
            if !rule.resources.is_empty() {
                resolved.resource.push(rule.clone());
            }
            if !rule.urls.is_empty() {
                resolved.non_resource.push(rule);
            }
        }
        errors.extend(held.missing);
        resolved.evaluation_error = errors.join(", ");
        Ok(resolved)
    }

    /// Whether `user` may write this Role or ClusterRole (`namespace` empty): it holds all of it, or may `escalate`.
    /// `old` is the object before an update.
    pub async fn check_role(
        &self,
        cluster: &ClusterId,
        user: &User,
        namespace: &str,
        role: &Value,
        old: Option<&Value>,
    ) -> Result<(), GrantError> {
        let resource = if namespace.is_empty() {
            "clusterroles"
        } else {
            "roles"
        };
        let name = role.str_at(&["metadata", "name"]).unwrap_or_default();
        if self
            .may(cluster, user, "escalate", resource, namespace, name)
            .await?
        {
            return Ok(());
        }
        let policy = self.policies.policy(&self.objects, cluster).await?;
        Ok(check_role(&policy, user, namespace, role, old)?)
    }

    /// Whether `user` may write this RoleBinding or ClusterRoleBinding (`namespace` empty): it holds all that the role
    /// grants, or may `bind` the role.
    pub async fn check_binding(
        &self,
        cluster: &ClusterId,
        user: &User,
        namespace: &str,
        binding: &Value,
    ) -> Result<(), GrantError> {
        let kind = binding.str_at(&["roleRef", "kind"]).unwrap_or_default();
        let resource = if kind == "Role" { "roles" } else { "clusterroles" };
        let name = binding.str_at(&["roleRef", "name"]).unwrap_or_default();
        if self.may(cluster, user, "bind", resource, namespace, name).await? {
            return Ok(());
        }
        let policy = self.policies.policy(&self.objects, cluster).await?;
        Ok(check_binding(&policy, user, namespace, binding)?)
    }

    async fn may(
        &self,
        cluster: &ClusterId,
        user: &User,
        verb: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool, LookupError> {
        let group = "rbac.authorization.k8s.io";
        let asked = Attributes {
            namespace,
            name,
            ..Attributes::resource(user, verb, group, resource)
        };
        Ok(self.authorize(cluster, &asked).await?.is_allowed())
    }
}
