//! Role-based access control, as `rbac.authorization.k8s.io/v1` describes it.

mod bootstrap;
mod cache;
mod escalation;
mod policy;
mod rule;

pub use bootstrap::{BootstrapObject, bootstrap_objects};
pub(crate) use cache::PolicyCache;
pub use escalation::EscalationError;
pub(crate) use escalation::{check_binding, check_role};
pub use rule::Rule;
