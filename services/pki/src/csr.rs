//! PKCS#10 signing requests (RFC 2986): made by nodes, checked and signed for `certificates.k8s.io`.
//!
//! The rules of the three built-in signers are those of the Kubernetes documentation ("Certificates and Certificate
//! Signing Requests: Kubernetes signers").

use crate::certificate::{KeyUsages, San, Subject, common_extensions};
use crate::der::{self, oids};
use crate::{PkiError, PrivateKey, pem};
use std::net::IpAddr;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509CertificationRequest};

/// Client certificates for the API server; never signed without an approval by a person or policy.
pub const SIGNER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Client certificates of kubelets.
pub const SIGNER_KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Serving certificates of kubelets.
pub const SIGNER_KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

/// Why a signing request is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CsrError {
    /// It cannot be parsed, or is no `CERTIFICATE REQUEST` block.
    #[error("unable to parse the certificate request: {0}")]
    Malformed(String),
    /// Its signature does not match its key.
    #[error("the certificate request is not signed by its own key")]
    BadSignature,
    /// Its signer does not sign such requests.
    #[error("{0}")]
    Forbidden(&'static str),
    /// No such signer here.
    #[error("unknown signer")]
    UnknownSigner,
}

/// A request whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    /// The wished subject.
    pub subject: Subject,
    /// The wished names.
    pub sans: Vec<San>,
    /// The requester's SubjectPublicKeyInfo.
    pub(crate) spki: Vec<u8>,
}

impl Csr {
    /// Parses a PEM request and checks that it is signed by the key it holds.
    pub fn parse(text: &str) -> Result<Self, CsrError> {
        let malformed = |e: &dyn std::fmt::Display| CsrError::Malformed(e.to_string());
        let bytes = pem::decode(pem::REQUEST, text).map_err(|e| malformed(&e))?;
        let (rest, request) = X509CertificationRequest::from_der(&bytes).map_err(|e| malformed(&e))?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed("trailing bytes".into()));
        }
        request.verify_signature().map_err(|_| CsrError::BadSignature)?;
        let info = &request.certification_request_info;
        let mut sans = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    sans.push(match name {
                        GeneralName::DNSName(s) => San::Dns((*s).to_owned()),
                        GeneralName::RFC822Name(s) => San::Email((*s).to_owned()),
                        GeneralName::URI(s) => San::Uri((*s).to_owned()),
                        GeneralName::IPAddress(b) => San::Ip(
                            ip_from(b).ok_or_else(|| CsrError::Malformed("bad address in names".into()))?,
                        ),
                        other => return Err(CsrError::Malformed(format!("unsupported name {other:?}"))),
                    });
                }
            }
        }
        Ok(Self {
            subject: crate::verify::subject_of(&info.subject)
                .map_err(|e| CsrError::Malformed(e.to_string()))?,
            sans,
            spki: info.subject_pki.raw.to_vec(),
        })
    }

    /// Makes a request and signs it: `PEM`.
    pub fn create(key: &PrivateKey, subject: &Subject, sans: &[San]) -> Result<String, PkiError> {
        let extensions = common_extensions(sans, KeyUsages::default(), false, false);
        let attributes = if extensions.is_empty() {
            Vec::new()
        } else {
            let list = der::sequence(&extensions);
            vec![der::sequence(&[
                der::oid(oids::EXTENSION_REQUEST),
                der::set(&[list]),
            ])]
        };
        let info = der::sequence(&[
            der::integer(&[0]),
            subject.encode(),
            key.spki(),
            der::explicit(0, &attributes),
        ]);
        let signature = key.sign_asn1(&info)?;
        let algorithm = der::sequence(&[der::oid(oids::ECDSA_SHA256)]);
        Ok(pem::encode(
            pem::REQUEST,
            &der::sequence(&[info, algorithm, der::bits(0, &signature)]),
        ))
    }

    /// Whether `signer` signs this request with these usages (the texts of `spec.usages`, such as `client auth`); if so,
    /// what the certificate may be used for.
    pub fn check(&self, signer: &str, usages: &[&str]) -> Result<KeyUsages, CsrError> {
        let given = KeyUsages {
            digital_signature: usages.contains(&"digital signature"),
            key_encipherment: usages.contains(&"key encipherment"),
            server_auth: usages.contains(&"server auth"),
            client_auth: usages.contains(&"client auth"),
        };
        let known = [
            "digital signature",
            "key encipherment",
            "server auth",
            "client auth",
        ];
        let only_known = usages.iter().all(|u| known.contains(u));
        let client_only = only_known && given.client_auth && !given.server_auth;
        let server_only = only_known && given.server_auth && !given.client_auth;
        let is_node = || {
            if self.subject.organizations != ["system:nodes"] {
                return Err(CsrError::Forbidden("subject organization is not system:nodes"));
            }
            match self.subject.common_name.strip_prefix("system:node:") {
                Some(name) if !name.is_empty() => Ok(()),
                _ => Err(CsrError::Forbidden(
                    "subject common name does not begin with system:node: ",
                )),
            }
        };
        match signer {
            SIGNER_CLIENT if client_only => Ok(given),
            SIGNER_KUBELET_CLIENT => {
                is_node()?;
                if let Some(san) = self.sans.first() {
                    return Err(CsrError::Forbidden(match san {
                        San::Dns(_) => "DNS subjectAltNames are not allowed",
                        San::Email(_) => "Email subjectAltNames are not allowed",
                        San::Ip(_) => "IP subjectAltNames are not allowed",
                        San::Uri(_) => "URI subjectAltNames are not allowed",
                    }));
                }
                if client_only && given.digital_signature {
                    Ok(given)
                } else {
                    Err(USAGES)
                }
            }
            SIGNER_KUBELET_SERVING => {
                is_node()?;
                if self.sans.iter().any(|s| matches!(s, San::Email(_))) {
                    return Err(CsrError::Forbidden("Email subjectAltNames are not allowed"));
                }
                if self.sans.iter().any(|s| matches!(s, San::Uri(_))) {
                    return Err(CsrError::Forbidden("URI subjectAltNames are not allowed"));
                }
                if self.sans.is_empty() {
                    return Err(CsrError::Forbidden("DNS or IP subjectAltName is required"));
                }
                if server_only && given.digital_signature {
                    Ok(given)
                } else {
                    Err(USAGES)
                }
            }
            SIGNER_CLIENT => Err(USAGES),
            _ => Err(CsrError::UnknownSigner),
        }
    }
}

const USAGES: CsrError = CsrError::Forbidden("usages did not match what the signer allows");

fn ip_from(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
