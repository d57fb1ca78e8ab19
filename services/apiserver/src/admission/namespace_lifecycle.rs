//! NamespaceLifecycle: nothing new in a namespace that does not exist or is going away, and three namespaces stay.

use super::{Attempt, Operation, Plugin};
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use async_trait::async_trait;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The plugin.
pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        match operation {
            // An object that is updated exists, and so did its namespace.
            Operation::Create => {
                kind.resource.namespaced && !kind.is("authorization.k8s.io", "localsubjectaccessreviews")
            }
            Operation::Delete => kind.is("", "namespaces") && subresource.is_empty(),
            Operation::Update | Operation::Connect => false,
        }
    }

    async fn mutate(&self, attempt: &mut Attempt<'_>) -> Result<()> {
        if attempt.operation != Operation::Create || attempt.namespace.is_empty() {
            return Ok(());
        }
        let name = attempt.namespace;
        let mut found = attempt.reader.get("", "namespaces", "", name).await?;
        if found.is_none() {
            // Another member may have made it a moment ago.
            found = attempt.reader.get_live("", "namespaces", "", name).await?;
        }
        let Some(namespace) = found else {
            return Err(ApiError::not_found("", "namespaces", name));
        };
        if namespace.at(&["metadata", "deletionTimestamp"]).is_null()
            && namespace.str_at(&["status", "phase"]) != Some("Terminating")
        {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut error = attempt.forbidden(&why);
        if let Some(details) = &mut error.0.details {
            details.causes = vec![(
                "NamespaceTerminating".into(),
                format!("namespace {name} is being terminated"),
                "metadata.namespace".into(),
            )];
        }
        Err(error)
    }

    async fn validate(&self, attempt: &Attempt<'_>) -> Result<()> {
        if attempt.operation == Operation::Delete && IMMORTAL.contains(&attempt.name) {
            return Err(attempt.forbidden("this namespace may not be deleted"));
        }
        Ok(())
    }
}
