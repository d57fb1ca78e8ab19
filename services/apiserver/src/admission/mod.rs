//! Admission: what is changed or refused after authorization and before the store.
//!
//! One file for each plugin and one line in [`plugins`]. Mutating passes run in the order of the list, then defaulting
//! and validation, then validating passes. A plugin is stateless; what it must read it reads through [`Attempt::reader`], which
//! sees the same store as the transaction that follows. Rejected: plugins that cache objects, since an idle cluster owns nothing.

mod certificates;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod namespace_lifecycle;
mod node_restriction;
mod pods;
mod priority;
mod rbac_escalation;
mod runtime_class;
mod service_account;
mod taint_nodes_by_condition;

use crate::cx::Cx;
use crate::kind::Kind;
use crate::reader::Reader;
use crate::status::{ApiError, Result};
use async_trait::async_trait;
use machinery::Value;
use std::sync::Arc;
use tracing::Instrument;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or a create-only sub-resource such as `binding` or `eviction`.
    Create,
    /// A changed object.
    Update,
    /// A removed object.
    Delete,
    /// `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl Operation {
    /// `CREATE`, `UPDATE`, … as admission reviews write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One attempted write.
pub struct Attempt<'a> {
    /// The request: cluster, user, warnings.
    pub cx: &'a Cx,
    /// The resource as the request names it.
    pub kind: &'a Kind,
    /// What is being done.
    pub operation: Operation,
    /// The sub-resource or empty.
    pub subresource: &'a str,
    /// Namespace or empty.
    pub namespace: &'a str,
    /// Name; empty for a create with `generateName` until the name is made.
    pub name: &'a str,
    /// The new object; null for deletes. For sub-resources with a kind of their own (Binding, Eviction, Scale,
    /// TokenRequest) it is that object.
    pub object: Value,
    /// The object before; null for creates.
    pub old: &'a Value,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// Reads other objects of the same cluster.
    pub reader: &'a Reader,
    /// Decides what the user may do besides.
    pub authorizer: &'a auth::Authorizer,
}

impl Attempt<'_> {
    /// 403 about the object, in a plugin's words.
    pub fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(self.kind.group(), self.kind.plural(), self.name, why)
    }

    /// Whether the user may do something else in this cluster.
    pub async fn may(&self, asked: &auth::Attributes<'_>) -> Result<bool> {
        let decision = self.authorizer.authorize(self.cx.cluster_id(), asked).await;
        decision
            .map(|d| d.is_allowed())
            .map_err(|e| ApiError::internal(e.to_string()))
    }
}

/// An admission plugin.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Upstream's name, e.g. `ServiceAccount`.
    fn name(&self) -> &'static str;

    /// Whether it looks at such attempts at all.
    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool;

    /// Changes the object, or refuses it.
    async fn mutate(&self, _attempt: &mut Attempt<'_>) -> Result<()> {
        Ok(())
    }

    /// Looks at the final object, or refuses it.
    async fn validate(&self, _attempt: &Attempt<'_>) -> Result<()> {
        Ok(())
    }
}

/// The plugins, in the order of their mutating passes (upstream's order).
pub fn plugins() -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(taint_nodes_by_condition::TaintNodesByCondition),
        Arc::new(priority::Priority),
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds),
        Arc::new(runtime_class::RuntimeClass),
        Arc::new(certificates::CertificateRequester),
        Arc::new(certificates::CertificateApproval),
        Arc::new(certificates::CertificateSigning),
        Arc::new(certificates::CertificateSubjectRestriction),
        Arc::new(default_ingress_class::DefaultIngressClass),
        Arc::new(default_storage_class::DefaultStorageClass),
        Arc::new(rbac_escalation::RbacEscalation),
    ]
}

/// Runs all mutating passes.
pub(crate) async fn mutate(plugins: &[Arc<dyn Plugin>], attempt: &mut Attempt<'_>) -> Result<()> {
    for plugin in plugins {
        if plugin.handles(attempt.operation, attempt.kind, attempt.subresource) {
            let span = tracing::debug_span!("admission", phase = "mutate", plugin = plugin.name());
            plugin.mutate(attempt).instrument(span).await?;
        }
    }
    Ok(())
}

/// Runs all validating passes.
pub(crate) async fn validate(plugins: &[Arc<dyn Plugin>], attempt: &Attempt<'_>) -> Result<()> {
    for plugin in plugins {
        if plugin.handles(attempt.operation, attempt.kind, attempt.subresource) {
            let span = tracing::debug_span!("admission", phase = "validate", plugin = plugin.name());
            plugin.validate(attempt).instrument(span).await?;
        }
    }
    Ok(())
}
