//! An ECDSA P-256 private key, parsed once and used for certificates, tokens and TLS.

use crate::der::oids;
use crate::{PkiError, pem};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use std::fmt;

/// A private key. Never shown by `Debug`; written out only by [`Self::pem`].
pub struct PrivateKey {
    pkcs8: Vec<u8>,
    public: [u8; 65],
}

impl PrivateKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, PkiError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| PkiError::Crypto("cannot generate a key"))?;
        Self::from_pkcs8(document.as_ref().to_vec())
    }

    /// A key from PKCS#8 bytes.
    pub fn from_pkcs8(pkcs8: Vec<u8>) -> Result<Self, PkiError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8)
            .map_err(|e| PkiError::Malformed(format!("no P-256 key in PKCS#8: {e}")))?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| PkiError::Crypto("a P-256 point is 65 bytes"))?;
        Ok(Self { pkcs8, public })
    }

    /// A key from PEM (`PRIVATE KEY`, PKCS#8).
    pub fn from_pem(text: &str) -> Result<Self, PkiError> {
        Self::from_pkcs8(pem::decode(pem::PRIVATE_KEY, text)?)
    }

    /// The key as PEM (`PRIVATE KEY`, PKCS#8).
    pub fn pem(&self) -> String {
        pem::encode(pem::PRIVATE_KEY, &self.pkcs8)
    }

    /// The key for rustls.
    pub fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()))
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public point, uncompressed.
    pub(crate) fn public(&self) -> &[u8; 65] {
        &self.public
    }

    /// SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> Vec<u8> {
        [oids::P256_SPKI, &self.public].concat()
    }

    /// Upstream's key id for tokens: base64url of SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) fn key_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.spki()))
    }

    /// A signature in ASN.1, as certificates carry it.
    pub(crate) fn sign_asn1(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        self.sign(&ECDSA_P256_SHA256_ASN1_SIGNING, message)
    }

    /// A signature as two 32-byte numbers, as JSON web tokens carry it (RFC 7518, 3.4).
    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        self.sign(&ECDSA_P256_SHA256_FIXED_SIGNING, message)
    }

    fn sign(
        &self,
        form: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, PkiError> {
        let pair = EcdsaKeyPair::from_pkcs8(form, &self.pkcs8)
            .map_err(|_| PkiError::Crypto("a key that was parsed once no longer parses"))?;
        let signature = pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| PkiError::Crypto("cannot sign"))?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.key_id())
    }
}
