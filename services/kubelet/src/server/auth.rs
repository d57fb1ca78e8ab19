//! Who asks, from the client certificate of the connection.

use super::{ServerError, Tls};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A caller with a valid certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user: String,
    pub(super) groups: Vec<String>,
}

impl Caller {
    /// Whether the kubelet's API is open to it.
    pub(super) fn may(&self, allowed: &[String]) -> bool {
        self.groups.iter().any(|g| g == "system:masters") || allowed.contains(&self.user)
    }
}

/// The caller that the handshake verified; `None` without a certificate.
pub(super) fn caller(chain: Option<&[CertificateDer<'_>]>) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
    let subject = certificate.subject();
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
    let user = subject.iter_common_name().next().and_then(text)?;
    Some(Caller {
        user,
        groups: subject.iter_organization().filter_map(text).collect(),
    })
}

/// TLS that asks for a client certificate of the CA but lets callers without one in, to be answered 401.
pub(super) fn server_config(tls: &Tls) -> Result<rustls::ServerConfig, ServerError> {
    let bad = |e: &dyn std::fmt::Display| ServerError::Tls(e.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&tls.client_ca_pem) {
        roots
            .add(certificate.map_err(|e| bad(&e))?)
            .map_err(|e| bad(&e))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| bad(&e))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&tls.cert_pem)
        .collect::<Result<_, _>>()
        .map_err(|e| bad(&e))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key_pem).map_err(|e| bad(&e))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| bad(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| bad(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_masters_and_named_users_may_ask() {
        let caller = |user: &str, group: &str| Caller {
            user: user.into(),
            groups: vec![group.into()],
        };
        let allowed = ["apiserver".to_owned()];
        assert!(caller("x", "system:masters").may(&allowed));
        assert!(caller("apiserver", "g").may(&allowed));
        assert!(!caller("system:node:n1", "system:nodes").may(&allowed));
        assert_eq!(super::caller(None), None);
    }
}
