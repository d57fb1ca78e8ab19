//! Reads who a client certificate speaks for, after checking chain, purpose and dates against the cluster's own CA.

use crate::PkiError;
use crate::certificate::Subject;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

/// The most certificates in a chain that are looked at.
const MAX_CHAIN: usize = 4;

/// What a verified client certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// CN is the user's name, each O a group.
    pub subject: Subject,
    /// The serial number, big-endian: what revocation lists name.
    pub serial: Vec<u8>,
    /// SHA-256 of the certificate, in lower-case hexadecimal: upstream's `X509SHA256` credential id.
    pub fingerprint: String,
    /// After this the certificate is void, or one that came with it and may vouch for it.
    pub not_after: Timestamp,
}

/// Why a client certificate is worth nothing here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClientCertError {
    /// It was not issued by this cluster's CA, is out of date, or is not meant for clients.
    #[error("x509: {0}")]
    Untrusted(String),
    /// It names nobody.
    #[error("x509: subject with an empty or unreadable common name")]
    NoName,
}

/// Verifier for one CA.
pub(crate) fn verifier(ca: &CertificateDer<'static>) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(ca.clone())
        .map_err(|e| PkiError::Malformed(e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| PkiError::Malformed(e.to_string()))
}

/// Checks a chain, end entity first.
pub(crate) fn verify(
    verifier: &dyn ClientCertVerifier,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<ClientIdentity, ClientCertError> {
    let untrusted = |e: &dyn std::fmt::Display| ClientCertError::Untrusted(e.to_string());
    let (leaf, intermediates) = chain.split_first().ok_or_else(|| untrusted(&"no certificate"))?;
    if intermediates.len() >= MAX_CHAIN {
        return Err(untrusted(&"too many certificates"));
    }
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    verifier
        .verify_client_cert(leaf, intermediates, at)
        .map_err(|e| untrusted(&e))?;
    let (_, cert) = X509Certificate::from_der(leaf).map_err(|e| untrusted(&e))?;
    let subject = subject_of(cert.subject()).map_err(|_| ClientCertError::NoName)?;
    if subject.common_name.is_empty() {
        return Err(ClientCertError::NoName);
    }
    let digest = Sha256::digest(leaf);
    Ok(ClientIdentity {
        subject,
        serial: cert.raw_serial().to_vec(),
        fingerprint: digest.iter().map(|b| format!("{b:02x}")).collect(),
        not_after: intermediates
            .iter()
            .filter_map(|der| Some(end(&X509Certificate::from_der(der).ok()?.1)))
            .fold(end(&cert), Timestamp::min),
    })
}

fn end(cert: &X509Certificate<'_>) -> Timestamp {
    Timestamp::from_second(cert.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX)
}

/// CN and every O of a name. The last CN wins, as in Go.
pub(crate) fn subject_of(name: &X509Name<'_>) -> Result<Subject, PkiError> {
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        a.as_str()
            .map(str::to_owned)
            .map_err(|e| PkiError::Malformed(e.to_string()))
    };
    let mut subject = Subject::default();
    for attribute in name.iter_common_name() {
        subject.common_name = text(attribute)?;
    }
    for attribute in name.iter_organization() {
        subject.organizations.push(text(attribute)?);
    }
    Ok(subject)
}
