//! All key material of one cluster.

use crate::certificate::{self, Issued, Issuer, KeyUsages, San, Subject, Template, cert_pem};
use crate::csr::{Csr, CsrError};
use crate::token::{self, Claims, TokenError, TokenKey, TokenRequest};
use crate::verify::{self, ClientCertError, ClientIdentity};
use crate::{PkiError, PrivateKey};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const DAY: i64 = 24 * 3600;
/// How long a CA lives.
const CA_LIFE: SignedDuration = SignedDuration::from_secs(10 * 365 * DAY);
/// How long a serving certificate lives.
const SERVING_LIFE: SignedDuration = SignedDuration::from_secs(365 * DAY);
/// Certificates begin this long ago, for clocks that are behind (upstream: 5 minutes).
const BACKDATE: SignedDuration = SignedDuration::from_secs(300);
/// The shortest life that a signing request can ask for (upstream).
const MIN_CSR_LIFE: Duration = Duration::from_secs(600);
/// The longest (upstream's `--cluster-signing-duration`).
const MAX_CSR_LIFE: Duration = Duration::from_secs(365 * DAY as u64);
/// How many token signing keys are kept: the newest signs, all verify.
const MAX_TOKEN_KEYS: usize = 4;

/// The names and addresses that the API server is reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServingNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

impl ServingNames {
    /// The names that every cluster has inside (`kubernetes.default.svc`, `localhost`, …) and these outer ones.
    /// `ips` should hold the `kubernetes` Service's address and the cluster's own.
    pub fn cluster(dns_domain: &str, outer: &[String], ips: &[IpAddr]) -> Self {
        let mut dns: Vec<String> = outer.to_vec();
        for name in [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
        ] {
            dns.push(name.to_owned());
        }
        dns.push(format!("kubernetes.default.svc.{dns_domain}"));
        let mut all = ips.to_vec();
        all.push(IpAddr::from([127, 0, 0, 1]));
        dns.dedup();
        all.dedup();
        Self { dns, ips: all }
    }

    fn sans(&self) -> Vec<San> {
        let dns = self.dns.iter().map(|d| San::Dns(d.clone()));
        dns.chain(self.ips.iter().map(|ip| San::Ip(*ip))).collect()
    }
}

/// A CA: its certificate and key.
struct Authority {
    subject: Subject,
    cert: CertificateDer<'static>,
    key: PrivateKey,
    not_after: Timestamp,
    verifier: OnceLock<Arc<dyn ClientCertVerifier>>,
}

impl Authority {
    fn generate(common_name: &str, now: Timestamp) -> Result<Self, PkiError> {
        let key = PrivateKey::generate()?;
        let subject = Subject::new(common_name, &[]);
        let not_after = later(now, CA_LIFE);
        let spki = key.spki();
        let template = Template {
            subject: subject.clone(),
            sans: Vec::new(),
            usages: KeyUsages {
                digital_signature: true,
                key_encipherment: true,
                ..KeyUsages::default()
            },
            is_ca: true,
            not_before: earlier(now, BACKDATE),
            not_after,
            spki: &spki,
        };
        let cert = certificate::sign(
            &template,
            &Issuer {
                subject: &subject,
                key: &key,
            },
        )?;
        Ok(Self {
            subject,
            cert,
            key,
            not_after,
            verifier: OnceLock::new(),
        })
    }

    fn issue(
        &self,
        subject: Subject,
        sans: Vec<San>,
        usages: KeyUsages,
        spki: &[u8],
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<(CertificateDer<'static>, Timestamp), PkiError> {
        let not_after = later(now, life).min(self.not_after);
        let not_before = earlier(now, BACKDATE);
        let template = Template {
            subject,
            sans,
            usages,
            is_ca: false,
            not_before,
            not_after,
            spki,
        };
        let cert = certificate::sign(
            &template,
            &Issuer {
                subject: &self.subject,
                key: &self.key,
            },
        )?;
        Ok((cert, not_after))
    }
}

fn later(t: Timestamp, d: SignedDuration) -> Timestamp {
    t.saturating_add(d).unwrap_or(Timestamp::MAX)
}

fn earlier(t: Timestamp, d: SignedDuration) -> Timestamp {
    t.saturating_sub(d).unwrap_or(Timestamp::MIN)
}

/// The serving certificate.
struct Serving {
    cert: CertificateDer<'static>,
    key: PrivateKey,
    names: ServingNames,
    not_after: Timestamp,
    certified: OnceLock<Arc<CertifiedKey>>,
}

/// The keys of one cluster. Made once when the cluster is created, kept (wrapped) by the provider as [`Self::to_bytes`].
/// Immutable: rotation makes a new value, which replaces the old one in the cluster's directory entry.
///
/// `Debug` shows no secret.
pub struct ClusterKeys {
    /// The CA certificate, PEM: what clients trust and what signs client certificates.
    pub ca_pem: String,
    ca: Authority,
    /// Signs only the client certificate that the API server shows to aggregated API servers (a CA of its own, so that
    /// no holder of a client certificate can pose as the proxy).
    proxy_ca: Authority,
    token_keys: Vec<TokenKey>,
    serving: Serving,
    data_key: [u8; 32],
}

/// The stored form. Every field is needed; unknown ones are refused, because losing one would lose a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    ca: StoredPair,
    proxy_ca: StoredPair,
    token_keys: Vec<String>,
    serving: StoredPair,
    serving_names: ServingNames,
    data_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredPair {
    name: String,
    cert: String,
    key: String,
    not_after: Timestamp,
}

impl ClusterKeys {
    /// Makes everything anew.
    pub fn generate(names: &ServingNames, now: Timestamp) -> Result<Self, PkiError> {
        let ca = Authority::generate("kubernetes", now)?;
        let proxy_ca = Authority::generate("front-proxy-ca", now)?;
        let mut data_key = [0; 32];
        SystemRandom::new()
            .fill(&mut data_key)
            .map_err(|_| PkiError::Crypto("no random bytes"))?;
        let serving = Self::make_serving(&ca, names, now)?;
        let token_keys = vec![TokenKey::new(PrivateKey::generate()?)];
        Ok(Self {
            ca_pem: cert_pem(&ca.cert),
            ca,
            proxy_ca,
            token_keys,
            serving,
            data_key,
        })
    }

    fn make_serving(ca: &Authority, names: &ServingNames, now: Timestamp) -> Result<Serving, PkiError> {
        let key = PrivateKey::generate()?;
        let subject = Subject::new("kube-apiserver", &[]);
        let (cert, not_after) = ca.issue(
            subject,
            names.sans(),
            KeyUsages::SERVER,
            &key.spki(),
            SERVING_LIFE,
            now,
        )?;
        Ok(Serving {
            cert,
            key,
            names: names.clone(),
            not_after,
            certified: OnceLock::new(),
        })
    }

    /// The whole set as bytes, private keys included: to be encrypted before they are stored anywhere.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pair = |name: &str, cert: &[u8], key: &PrivateKey, not_after| StoredPair {
            name: name.to_owned(),
            cert: STANDARD.encode(cert),
            key: STANDARD.encode(key.pkcs8()),
            not_after,
        };
        let ca = |a: &Authority| pair(&a.subject.common_name, &a.cert, &a.key, a.not_after);
        let serving = &self.serving;
        let stored = Stored {
            version: 1,
            ca: ca(&self.ca),
            proxy_ca: ca(&self.proxy_ca),
            token_keys: self
                .token_keys
                .iter()
                .map(|k| STANDARD.encode(k.key.pkcs8()))
                .collect(),
            serving: pair("", &serving.cert, &serving.key, serving.not_after),
            serving_names: serving.names.clone(),
            data_key: STANDARD.encode(self.data_key),
        };
        serde_json::to_vec(&stored).expect("a struct of strings and numbers is JSON")
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PkiError> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|e| PkiError::Malformed(e.to_string()))?;
        if stored.version != 1 {
            return Err(PkiError::Malformed(format!(
                "version {} of cluster keys",
                stored.version
            )));
        }
        let raw = |text: &str| {
            STANDARD
                .decode(text)
                .map_err(|e| PkiError::Malformed(e.to_string()))
        };
        let key = |text: &str| PrivateKey::from_pkcs8(raw(text)?);
        let ca = |pair: &StoredPair| -> Result<Authority, PkiError> {
            Ok(Authority {
                subject: Subject::new(pair.name.clone(), &[]),
                cert: CertificateDer::from(raw(&pair.cert)?),
                key: key(&pair.key)?,
                not_after: pair.not_after,
                verifier: OnceLock::new(),
            })
        };
        let (ca, proxy_ca) = (ca(&stored.ca)?, ca(&stored.proxy_ca)?);
        let token_keys: Vec<TokenKey> = stored
            .token_keys
            .iter()
            .map(|text| key(text).map(TokenKey::new))
            .collect::<Result<_, _>>()?;
        if token_keys.is_empty() {
            return Err(PkiError::Malformed("no token signing key".into()));
        }
        let data_key = raw(&stored.data_key)?
            .try_into()
            .map_err(|_| PkiError::Malformed("a data key has 32 bytes".into()))?;
        let serving = Serving {
            cert: CertificateDer::from(raw(&stored.serving.cert)?),
            key: key(&stored.serving.key)?,
            names: stored.serving_names,
            not_after: stored.serving.not_after,
            certified: OnceLock::new(),
        };
        Ok(Self {
            ca_pem: cert_pem(&ca.cert),
            ca,
            proxy_ca,
            token_keys,
            serving,
            data_key,
        })
    }

    fn copy(&self) -> Result<Self, PkiError> {
        Self::from_bytes(&self.to_bytes())
    }

    /// The same keys with a fresh serving certificate for these names.
    pub fn with_serving(&self, names: &ServingNames, now: Timestamp) -> Result<Self, PkiError> {
        let mut next = self.copy()?;
        next.serving = Self::make_serving(&next.ca, names, now)?;
        Ok(next)
    }

    /// The same keys with a fresh token signing key in front; older ones still verify, the oldest beyond four is dropped.
    pub fn with_new_token_key(&self) -> Result<Self, PkiError> {
        let mut next = self.copy()?;
        next.token_keys.insert(0, TokenKey::new(PrivateKey::generate()?));
        next.token_keys.truncate(MAX_TOKEN_KEYS);
        Ok(next)
    }

    /// The CA certificate.
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.ca.cert
    }

    /// When the CA's certificate ends.
    pub fn ca_not_after(&self) -> Timestamp {
        self.ca.not_after
    }

    /// The CA that vouches for the API server towards aggregated API servers, PEM
    /// (`requestheader-client-ca-file` of the ConfigMap `extension-apiserver-authentication`).
    pub fn proxy_ca_pem(&self) -> String {
        cert_pem(&self.proxy_ca.cert)
    }

    /// The names in the serving certificate.
    pub fn serving_names(&self) -> &ServingNames {
        &self.serving.names
    }

    /// When the serving certificate ends.
    pub fn serving_not_after(&self) -> Timestamp {
        self.serving.not_after
    }

    /// The serving certificate and key for rustls; made once.
    pub fn serving(&self) -> Result<Arc<CertifiedKey>, PkiError> {
        if let Some(ready) = self.serving.certified.get() {
            return Ok(ready.clone());
        }
        let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&self.serving.key.to_rustls())
            .map_err(|_| PkiError::Crypto("rustls does not take the serving key"))?;
        let made = Arc::new(CertifiedKey::new(vec![self.serving.cert.clone()], key));
        Ok(self.serving.certified.get_or_init(|| made).clone())
    }

    /// The key that data at rest is encrypted with (AES-256).
    pub fn data_key(&self) -> &[u8; 32] {
        &self.data_key
    }

    /// A client certificate and key: people (`kubeconfig --embed`), nodes, components.
    pub fn issue_client(&self, subject: Subject, life: Duration, now: Timestamp) -> Result<Issued, PkiError> {
        self.issue(subject, Vec::new(), KeyUsages::CLIENT, life, now)
    }

    /// A serving certificate and key for something inside the cluster (a kubelet, an aggregated API server).
    pub fn issue_serving(
        &self,
        subject: Subject,
        names: &ServingNames,
        life: Duration,
        now: Timestamp,
    ) -> Result<Issued, PkiError> {
        self.issue(subject, names.sans(), KeyUsages::SERVER, life, now)
    }

    fn issue(
        &self,
        subject: Subject,
        sans: Vec<San>,
        usages: KeyUsages,
        life: Duration,
        now: Timestamp,
    ) -> Result<Issued, PkiError> {
        let key = PrivateKey::generate()?;
        let life = SignedDuration::try_from(life).unwrap_or(CA_LIFE);
        let (cert, _) = self.ca.issue(subject, sans, usages, &key.spki(), life, now)?;
        Ok(Issued { cert, key })
    }

    /// The client certificate that the API server shows to aggregated API servers; signed by the proxy CA.
    pub fn issue_proxy_client(&self, life: Duration, now: Timestamp) -> Result<Issued, PkiError> {
        let key = PrivateKey::generate()?;
        let life = SignedDuration::try_from(life).unwrap_or(CA_LIFE);
        let subject = Subject::new("front-proxy-client", &[]);
        let (cert, _) =
            self.proxy_ca
                .issue(subject, Vec::new(), KeyUsages::CLIENT, &key.spki(), life, now)?;
        Ok(Issued { cert, key })
    }

    /// Signs an approved CertificateSigningRequest: `request` is PEM, `signer` and `usages` are `spec.signerName` and
    /// `spec.usages`, `life` is `spec.expirationSeconds` (a year if absent, never less than ten minutes, never more than a
    /// year). Returns the certificate as PEM.
    pub fn sign_csr(
        &self,
        request: &str,
        signer: &str,
        usages: &[&str],
        life: Option<Duration>,
        now: Timestamp,
    ) -> Result<String, SignError> {
        let csr = Csr::parse(request)?;
        let usages = csr.check(signer, usages)?;
        let life = life.unwrap_or(MAX_CSR_LIFE).clamp(MIN_CSR_LIFE, MAX_CSR_LIFE);
        let life = SignedDuration::try_from(life).unwrap_or(SERVING_LIFE);
        let (cert, _) = self
            .ca
            .issue(csr.subject, csr.sans, usages, &csr.spki, life, now)?;
        Ok(cert_pem(&cert))
    }

    /// Who a certificate chain (end entity first) speaks for, if this cluster's CA vouches for it now.
    pub fn verify_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<ClientIdentity, ClientCertError> {
        let verifier = match self.ca.verifier.get() {
            Some(ready) => ready,
            None => {
                let made =
                    verify::verifier(&self.ca.cert).map_err(|e| ClientCertError::Untrusted(e.to_string()))?;
                self.ca.verifier.get_or_init(|| made)
            }
        };
        verify::verify(verifier.as_ref(), chain, now)
    }

    /// Signs a service-account token; returns it with its claims.
    pub fn sign_token(
        &self,
        request: TokenRequest<'_>,
        now: Timestamp,
    ) -> Result<(String, Claims), PkiError> {
        let key = self
            .token_keys
            .first()
            .ok_or(PkiError::Crypto("no token signing key"))?;
        token::sign(key, request, now)
    }

    /// Checks issuer, signature and times of a service-account token. The caller checks the audience, and that what
    /// the token is bound to still exists.
    pub fn verify_token(&self, issuer: &str, text: &str, now: Timestamp) -> Result<Claims, TokenError> {
        token::verify(&self.token_keys, issuer, text, now)
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> serde_json::Value {
        token::jwks(&self.token_keys)
    }

    /// The document at `/.well-known/openid-configuration`.
    pub fn openid_configuration(issuer: &str) -> serde_json::Value {
        token::openid_configuration(issuer)
    }
}

/// Why a signing request was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The request is at fault.
    #[error(transparent)]
    Request(#[from] CsrError),
    /// The keys are.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterKeys")
            .field("ca", &self.ca.key)
            .field("token_keys", &self.token_keys)
            .field("serving_names", &self.serving.names)
            .finish_non_exhaustive()
    }
}
