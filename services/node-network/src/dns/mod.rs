//! DNS for pods, answered on their own node.
//!
//! Each node listens on the address that pods have in their `resolv.conf`, so a name costs no hop, no image has to be pulled
//! for DNS, and names keep resolving when the control plane is gone. [`zone`] is what the cluster's names mean, pure;
//! [`server`] speaks the protocol; what is not in the cluster's domain goes to the node's own resolvers ([`forward`]).
//! Records are those of the Kubernetes DNS specification 1.1.0.

mod forward;
mod records;
mod server;
mod zone;

pub use server::{Options, Server, relay};
