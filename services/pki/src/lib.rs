//! Keys and certificates: each cluster has its own CA, service-account issuer and serving certificate.
//!
//! Nothing here knows a second cluster: a [`ClusterKeys`] value verifies only what it signed itself, so a credential of
//! one cluster is a stranger's credential in every other. All keys are ECDSA P-256 by aws-lc: making the whole set of a
//! new cluster takes well under a millisecond of CPU time for each key, and a token is signed in tens of microseconds.
//!
//! Time is always passed in (`base::Clock`), never read here.

mod bootstrap_token;
mod certificate;
mod cluster_keys;
mod csr;
mod der;
mod key;
mod pem;
mod tls;
mod token;
mod verify;

pub use bootstrap_token::BootstrapToken;
pub use certificate::{Issued, KeyUsages, San, Subject};
pub use cluster_keys::{ClusterKeys, ServingNames, SignError};
pub use csr::{Csr, CsrError, SIGNER_CLIENT, SIGNER_KUBELET_CLIENT, SIGNER_KUBELET_SERVING};
pub use key::PrivateKey;
pub use tls::{
    DeferredClientAuth, TlsError, client_config, client_identity, kubelet_client_config, server_config,
    unauthenticated_client_config,
};
pub use token::{BoundObject, Claims, KubernetesClaims, ServiceAccountRef, TokenError, TokenRequest};
pub use verify::{ClientCertError, ClientIdentity};

/// Why key material could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Stored or given key material that cannot be parsed.
    #[error("malformed key material: {0}")]
    Malformed(String),
    /// The cryptographic library refused; out of entropy, or a key of another kind.
    #[error("cryptographic failure: {0}")]
    Crypto(&'static str),
}
