//! Service-account tokens: JSON web tokens (RFC 7519) signed with ES256 by the cluster's own issuer.
//!
//! Claims are those of upstream's bound tokens (`TokenRequest`). Here only signature, issuer and times are checked;
//! that the account, pod, node or Secret still exists is checked by `auth`, which can read the store.
//! Rejected: `jsonwebtoken`, which parses the key at each call and chooses its cryptography by a process-wide default.

use crate::{PkiError, PrivateKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;
/// How far clocks may be apart, in seconds (upstream's leeway).
const LEEWAY: i64 = 60;

/// Which service account a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccountRef {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// UID of the account that it was issued to.
    #[serde(default)]
    pub uid: String,
}

/// An object that a token dies with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// UID.
    #[serde(default)]
    pub uid: String,
}

/// The claims under `kubernetes.io`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// The account's namespace.
    #[serde(default)]
    pub namespace: String,
    /// The node it is bound to, or that its pod was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<BoundObject>,
    /// The pod it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<BoundObject>,
    /// The Secret it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<BoundObject>,
    /// The account.
    pub serviceaccount: ServiceAccountRef,
    /// After this the client should have fetched a new one: seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// All claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is meant.
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Seconds since the epoch.
    pub exp: i64,
    /// Seconds since the epoch.
    pub iat: i64,
    /// The cluster's issuer.
    pub iss: String,
    /// A unique id.
    #[serde(default)]
    pub jti: String,
    /// Private claims.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// Seconds since the epoch.
    pub nbf: i64,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(d)? {
        Either::One(s) => vec![s],
        Either::Many(list) => list,
    })
}

/// What to sign.
#[derive(Clone, Debug)]
pub struct TokenRequest<'a> {
    /// The cluster's issuer.
    pub issuer: &'a str,
    /// For whom; upstream's default is the API server itself.
    pub audiences: Vec<String>,
    /// The account's namespace.
    pub namespace: &'a str,
    /// The account.
    pub account: ServiceAccountRef,
    /// The pod it dies with.
    pub pod: Option<BoundObject>,
    /// The node it dies with, or that the pod is on.
    pub node: Option<BoundObject>,
    /// The Secret it dies with.
    pub secret: Option<BoundObject>,
    /// Seconds it lives.
    pub seconds: i64,
    /// Seconds after which use is counted as stale.
    pub warn_after: Option<i64>,
}

/// Why a token is worth nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// It is no service-account token of this issuer: another authenticator may know it.
    #[error("not a token of this issuer")]
    Foreign,
    /// It claims to be ours, and its signature is wrong or its key is not known any more.
    #[error("invalid signature")]
    BadSignature,
    /// Its time has passed.
    #[error("service account token has expired")]
    Expired,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    NotYet,
    /// It is signed by us but says what no token of ours says.
    #[error("malformed claims")]
    Malformed,
}

/// A signing key and its id.
#[derive(Debug)]
pub(crate) struct TokenKey {
    pub(crate) key: PrivateKey,
    pub(crate) id: String,
}

impl TokenKey {
    pub(crate) fn new(key: PrivateKey) -> Self {
        Self {
            id: key.key_id(),
            key,
        }
    }

    /// One entry of the JSON web key set (RFC 7517).
    fn jwk(&self) -> serde_json::Value {
        let point = self.key.public();
        json!({
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Signs; returns the token and the claims in it.
pub(crate) fn sign(
    key: &TokenKey,
    request: TokenRequest<'_>,
    now: Timestamp,
) -> Result<(String, Claims), PkiError> {
    let at = now.as_second();
    let claims = Claims {
        aud: request.audiences,
        exp: at.saturating_add(request.seconds),
        iat: at,
        iss: request.issuer.to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        nbf: at,
        sub: format!(
            "system:serviceaccount:{}:{}",
            request.namespace, request.account.name
        ),
        kubernetes: KubernetesClaims {
            namespace: request.namespace.to_owned(),
            node: request.node,
            pod: request.pod,
            secret: request.secret,
            serviceaccount: request.account,
            warnafter: request.warn_after.map(|s| at.saturating_add(s)),
        },
    };
    let encode = |bytes: Result<Vec<u8>, serde_json::Error>| {
        bytes
            .map(|b| URL_SAFE_NO_PAD.encode(b))
            .map_err(|e| PkiError::Malformed(e.to_string()))
    };
    let header = Header {
        alg: "ES256".into(),
        kid: key.id.clone(),
    };
    let mut token = encode(serde_json::to_vec(&header))?;
    token.push('.');
    token.push_str(&encode(serde_json::to_vec(&claims))?);
    let signature = key.key.sign_fixed(token.as_bytes())?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok((token, claims))
}

/// Checks issuer, signature and times.
pub(crate) fn verify(
    keys: &[TokenKey],
    issuer: &str,
    token: &str,
    now: Timestamp,
) -> Result<Claims, TokenError> {
    if token.len() > MAX_TOKEN {
        return Err(TokenError::Foreign);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Foreign);
    };
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Foreign);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Foreign)?;
    let (payload, signature_bytes) = (decode(payload)?, decode(signature)?);
    #[derive(Deserialize)]
    struct OnlyIssuer {
        iss: String,
    }
    let claimed: OnlyIssuer = serde_json::from_slice(&payload).map_err(|_| TokenError::Foreign)?;
    if claimed.iss != issuer {
        return Err(TokenError::Foreign);
    }
    if header.alg != "ES256" {
        return Err(TokenError::BadSignature);
    }
    let signed = &token.as_bytes()[..token.len() - signature.len() - 1];
    let good = keys.iter().filter(|k| k.id == header.kid).any(|k| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, k.key.public())
            .verify(signed, &signature_bytes)
            .is_ok()
    });
    if !good {
        return Err(TokenError::BadSignature);
    }
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
    let at = now.as_second();
    if at > claims.exp.saturating_add(LEEWAY) {
        return Err(TokenError::Expired);
    }
    if at < claims.nbf.saturating_sub(LEEWAY) {
        return Err(TokenError::NotYet);
    }
    let account = &claims.kubernetes;
    if claims.sub
        != format!(
            "system:serviceaccount:{}:{}",
            account.namespace, account.serviceaccount.name
        )
    {
        return Err(TokenError::Malformed);
    }
    Ok(claims)
}

/// `/openid/v1/jwks`.
pub(crate) fn jwks(keys: &[TokenKey]) -> serde_json::Value {
    json!({ "keys": keys.iter().map(TokenKey::jwk).collect::<Vec<_>>() })
}

/// `/.well-known/openid-configuration`.
pub(crate) fn openid_configuration(issuer: &str) -> serde_json::Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/openid/v1/jwks", issuer.trim_end_matches('/')),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}
