//! Writes X.509 v3 certificates (RFC 5280).

use crate::der::{self, oids};
use crate::{PkiError, PrivateKey, pem};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// Who a certificate speaks for. Kubernetes reads the user's name from the common name and groups from the organisations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// CN.
    pub common_name: String,
    /// Every O, in order.
    pub organizations: Vec<String>,
}

impl Subject {
    /// A subject with these groups.
    pub fn new(common_name: impl Into<String>, organizations: &[&str]) -> Self {
        Self {
            common_name: common_name.into(),
            organizations: organizations.iter().map(|o| (*o).to_owned()).collect(),
        }
    }

    /// A node: `system:node:<name>` in `system:nodes`.
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}"), &["system:nodes"])
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let attribute =
            |oid: &[u8], text: &str| der::set(&[der::sequence(&[der::oid(oid), der::utf8(text)])]);
        let mut names: Vec<Vec<u8>> = self
            .organizations
            .iter()
            .map(|o| attribute(oids::ORGANIZATION, o))
            .collect();
        names.push(attribute(oids::COMMON_NAME, &self.common_name));
        der::sequence(&names)
    }
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// A DNS name, possibly with a wildcard label.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// An e-mail address.
    Email(String),
    /// A URI.
    Uri(String),
}

impl San {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Email(s) => der::implicit(1, s.as_bytes()),
            Self::Dns(s) => der::implicit(2, s.as_bytes()),
            Self::Uri(s) => der::implicit(6, s.as_bytes()),
            Self::Ip(IpAddr::V4(ip)) => der::implicit(7, &ip.octets()),
            Self::Ip(IpAddr::V6(ip)) => der::implicit(7, &ip.octets()),
        }
    }
}

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUsages {
    /// Sign (TLS 1.3 needs it).
    pub digital_signature: bool,
    /// RSA key transport.
    pub key_encipherment: bool,
    /// TLS server.
    pub server_auth: bool,
    /// TLS client.
    pub client_auth: bool,
}

impl KeyUsages {
    /// For a TLS client.
    pub const CLIENT: Self = Self {
        digital_signature: true,
        key_encipherment: false,
        server_auth: false,
        client_auth: true,
    };
    /// For a TLS server.
    pub const SERVER: Self = Self {
        digital_signature: true,
        key_encipherment: false,
        server_auth: true,
        client_auth: false,
    };
    /// For a peer that is both.
    pub const BOTH: Self = Self {
        client_auth: true,
        ..Self::SERVER
    };
}

/// A certificate and its key, for whoever asked for both.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub cert: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKey,
}

impl Issued {
    /// The certificate as PEM.
    pub fn cert_pem(&self) -> String {
        cert_pem(&self.cert)
    }
    /// The key as PEM (PKCS#8).
    pub fn key_pem(&self) -> String {
        self.key.pem()
    }
}

/// A certificate as PEM.
pub(crate) fn cert_pem(cert: &[u8]) -> String {
    pem::encode(pem::CERTIFICATE, cert)
}

/// Everything a certificate says.
pub(crate) struct Template<'a> {
    pub(crate) subject: Subject,
    pub(crate) sans: Vec<San>,
    pub(crate) usages: KeyUsages,
    pub(crate) is_ca: bool,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// SubjectPublicKeyInfo of the holder.
    pub(crate) spki: &'a [u8],
}

/// The one that signs.
pub(crate) struct Issuer<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) key: &'a PrivateKey,
}

/// RFC 7093 method 1: the leftmost 160 bits of SHA-256 of the key.
fn key_identifier(spki: &[u8]) -> Vec<u8> {
    Sha256::digest(spki)[..20].to_vec()
}

fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::oid(oid)];
    if critical {
        parts.push(der::boolean(true));
    }
    parts.push(der::octets(content));
    der::sequence(&parts)
}

/// The extensions that signing requests and certificates share.
pub(crate) fn common_extensions(
    sans: &[San],
    usages: KeyUsages,
    is_ca: bool,
    no_subject: bool,
) -> Vec<Vec<u8>> {
    let mut extensions = Vec::new();
    let flags = u8::from(usages.digital_signature) << 7
        | u8::from(usages.key_encipherment) << 5
        | u8::from(is_ca) << 2
        | u8::from(is_ca) << 1;
    if flags != 0 {
        let unused = flags.trailing_zeros() as u8;
        extensions.push(extension(oids::KEY_USAGE, true, &der::bits(unused, &[flags])));
    }
    let mut purposes = Vec::new();
    if usages.server_auth {
        purposes.push(der::oid(oids::SERVER_AUTH));
    }
    if usages.client_auth {
        purposes.push(der::oid(oids::CLIENT_AUTH));
    }
    if !purposes.is_empty() {
        extensions.push(extension(oids::EXT_KEY_USAGE, false, &der::sequence(&purposes)));
    }
    if !sans.is_empty() {
        let names: Vec<Vec<u8>> = sans.iter().map(San::encode).collect();
        extensions.push(extension(
            oids::SUBJECT_ALT_NAME,
            no_subject,
            &der::sequence(&names),
        ));
    }
    extensions
}

/// Signs a certificate.
pub(crate) fn sign(
    template: &Template<'_>,
    issuer: &Issuer<'_>,
) -> Result<CertificateDer<'static>, PkiError> {
    let algorithm = der::sequence(&[der::oid(oids::ECDSA_SHA256)]);
    // A random serial number with the top bit clear: 127 bits, never zero in practice.
    let mut serial = uuid::Uuid::new_v4().into_bytes();
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut extensions = common_extensions(
        &template.sans,
        template.usages,
        template.is_ca,
        template.subject.common_name.is_empty() && template.subject.organizations.is_empty(),
    );
    let constraints = if template.is_ca {
        der::sequence(&[der::boolean(true)])
    } else {
        der::sequence(&[])
    };
    extensions.push(extension(oids::BASIC_CONSTRAINTS, true, &constraints));
    extensions.push(extension(
        oids::SUBJECT_KEY_ID,
        false,
        &der::octets(&key_identifier(template.spki)),
    ));
    let authority = der::sequence(&[der::implicit(0, &key_identifier(&issuer.key.spki()))]);
    extensions.push(extension(oids::AUTHORITY_KEY_ID, false, &authority));
    let body = der::sequence(&[
        der::explicit(0, &[der::integer(&[2])]),
        der::integer(&serial),
        algorithm.clone(),
        issuer.subject.encode(),
        der::sequence(&[der::time(template.not_before), der::time(template.not_after)]),
        template.subject.encode(),
        template.spki.to_vec(),
        der::explicit(3, &[der::sequence(&extensions)]),
    ]);
    let signature = issuer.key.sign_asn1(&body)?;
    Ok(CertificateDer::from(der::sequence(&[
        body,
        algorithm,
        der::bits(0, &signature),
    ])))
}
