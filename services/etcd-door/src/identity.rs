//! Which cluster a client certificate opens.
//!
//! The certificate carries exactly one URI among its subject alternative names: `marina:cluster:<id>`. It is looked at
//! after TLS has checked the chain against the door's own certificate authority, which issues nothing else.

use base::ClusterId;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The beginning of the URI.
pub const SCHEME: &str = "marina:cluster:";

/// Why a certificate opens no cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It cannot be read.
    #[error("the client certificate cannot be read: {0}")]
    Unreadable(String),
    /// It names no cluster.
    #[error("the client certificate names no cluster")]
    NoCluster,
    /// It names more than one.
    #[error("the client certificate names more than one cluster")]
    Ambiguous,
    /// What it names is no cluster id.
    #[error("the client certificate names no valid cluster: {0}")]
    Invalid(String),
}

/// The URI that a certificate for this cluster has to carry.
pub fn uri(cluster: &ClusterId) -> String {
    format!("{SCHEME}{cluster}")
}

/// The cluster that a certificate (DER) opens.
pub fn cluster_of(certificate: &[u8]) -> Result<ClusterId, IdentityError> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|e| IdentityError::Unreadable(e.to_string()))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|e| IdentityError::Unreadable(e.to_string()))?;
    let names = names.map(|n| &n.value.general_names[..]).unwrap_or_default();
    let mut ids = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(SCHEME),
        _ => None,
    });
    match (ids.next(), ids.next()) {
        (None, _) => Err(IdentityError::NoCluster),
        (Some(_), Some(_)) => Err(IdentityError::Ambiguous),
        (Some(id), None) => id.parse().map_err(|e| IdentityError::Invalid(format!("{e}"))),
    }
}
