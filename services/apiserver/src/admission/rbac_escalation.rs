//! Nobody writes a role or binding that grants what they do not hold (upstream does this in the storage of these kinds).

use super::{Attempt, Operation, Plugin};
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use async_trait::async_trait;
use auth::GrantError;

const GROUP: &str = "rbac.authorization.k8s.io";

/// The plugin.
pub(super) struct RbacEscalation;

#[async_trait]
impl Plugin for RbacEscalation {
    fn name(&self) -> &'static str {
        "RbacEscalation"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && subresource.is_empty()
            && kind.group() == GROUP
    }

    async fn validate(&self, attempt: &Attempt<'_>) -> Result<()> {
        let (cluster, user) = (attempt.cx.cluster_id(), &attempt.cx.user);
        let namespace = if attempt.kind.resource.namespaced {
            attempt.namespace
        } else {
            ""
        };
        let (new, old) = (&attempt.object, attempt.old);
        let same = |fields: &[&'static str]| !old.is_null() && fields.iter().all(|f| new[*f] == old[*f]);
        let checked = match attempt.kind.plural() {
            "roles" | "clusterroles" => {
                // Labels, finalizers and owners may change without the right to grant.
                if same(&["rules", "aggregationRule"]) {
                    return Ok(());
                }
                let old = (!old.is_null()).then_some(old);
                attempt
                    .authorizer
                    .check_role(cluster, user, namespace, new, old)
                    .await
            }
            "rolebindings" | "clusterrolebindings" => {
                if same(&["roleRef", "subjects"]) {
                    return Ok(());
                }
                attempt
                    .authorizer
                    .check_binding(cluster, user, namespace, new)
                    .await
            }
            _ => return Ok(()),
        };
        match checked {
            Ok(()) => Ok(()),
            Err(GrantError::Forbidden(auth::EscalationError::NoRole(_))) => {
                let reference = |f: &'static str| new.str_at(&["roleRef", f]).unwrap_or_default();
                let plural = if reference("kind") == "Role" {
                    "roles"
                } else {
                    "clusterroles"
                };
                Err(ApiError::not_found(GROUP, plural, reference("name")))
            }
            Err(GrantError::Forbidden(why)) => Err(attempt.forbidden(&why.to_string())),
            Err(GrantError::Lookup(e)) => Err(ApiError::internal(e.to_string())),
        }
    }
}
