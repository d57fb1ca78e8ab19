//! PEM text (RFC 7468): what kubeconfigs, Secrets and CertificateSigningRequests hold.

use crate::PkiError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
pub(crate) const PRIVATE_KEY: &str = "PRIVATE KEY";
pub(crate) const REQUEST: &str = "CERTIFICATE REQUEST";

/// One block, 64 characters a line.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(std::str::from_utf8(line).unwrap_or_default());
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Every block with this label, in order; text between blocks is skipped.
pub(crate) fn decode_all(label: &str, text: &str) -> Result<Vec<Vec<u8>>, PkiError> {
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&begin) {
        let Some((body, after)) = after.split_once(&end) else {
            return Err(PkiError::Malformed(format!("PEM block {label} does not end")));
        };
        let compact: String = body.split_whitespace().collect();
        let der = STANDARD
            .decode(compact)
            .map_err(|e| PkiError::Malformed(format!("PEM block {label}: {e}")))?;
        blocks.push(der);
        rest = after;
    }
    Ok(blocks)
}

/// The first block with this label.
pub(crate) fn decode(label: &str, text: &str) -> Result<Vec<u8>, PkiError> {
    let mut blocks = decode_all(label, text)?.into_iter();
    blocks
        .next()
        .ok_or_else(|| PkiError::Malformed(format!("no PEM block {label}")))
}
