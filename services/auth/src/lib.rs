//! Who asks, and whether they may: authentication and authorization for every cluster of the process.
//!
//! Identity is rebuilt at each hop from the connection and never read from a header that a client can set; the
//! cluster is a typed value that comes from the TLS server name, the address or the tunnel's certificate. Every answer
//! is about one cluster: keys, accounts, roles and tokens of another are never looked at.

pub mod attributes;
pub mod authenticator;
pub mod authorizer;
mod chain;
pub mod directory;
pub mod impersonation;
mod node;
pub mod objects;
pub mod rbac;
pub mod user;

pub use attributes::{Attributes, Decision};
pub use authenticator::{
    AnonymousPolicy, Authenticated, Authenticator, Credentials, Revocations, ServiceTokens, Unauthenticated,
};
pub use authorizer::{Authorizer, GrantError, ResolvedRules};
pub use chain::Chain;
pub use directory::{Cluster, Directory};
pub use impersonation::{ImpersonationError, impersonate};
pub use objects::{Decode, LookupError, Objects};
pub use rbac::{BootstrapObject, EscalationError, Rule, bootstrap_objects};
pub use user::{AuthSource, User};
