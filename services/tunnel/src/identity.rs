//! Which node stands at the other end of a tunnel.

use jiff::Timestamp;
use pki::{ClientCertError, ClusterKeys};
use rustls_pki_types::CertificateDer;

/// Why a connection is no node's tunnel.
#[derive(Debug, thiserror::Error)]
pub enum NotANode {
    /// The certificate is not of this cluster.
    #[error(transparent)]
    Certificate(#[from] ClientCertError),
    /// It is, but names no node.
    #[error("{0:?} is no node")]
    Name(String),
}

/// The node's name, by the client certificate of the connection (end entity first) and this cluster's CA.
pub fn node_of(keys: &ClusterKeys, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<String, NotANode> {
    let who = keys.verify_client(chain, now)?;
    let name = who.subject.common_name;
    match name.strip_prefix("system:node:") {
        Some(node) if !node.is_empty() && who.subject.organizations.iter().any(|o| o == "system:nodes") => {
            Ok(node.to_owned())
        }
        _ => Err(NotANode::Name(name)),
    }
}
