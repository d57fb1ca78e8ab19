//! Continue tokens: where a paged list goes on, and at which revision.
//!
//! The format is upstream's (base64 of a small JSON object), so that a list begun on one API server can go on at another.
//! A token is the client's to change, so it only ever names a position inside the collection that the request itself names.

use crate::status::{ApiError, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A position in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The revision the list is read at; -1: the newest ("inconsistent" continuation).
    pub revision: i64,
    /// The first key of the next page, relative to the collection's prefix.
    pub start: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

impl Token {
    /// The token's text.
    pub fn encode(&self) -> String {
        let wire = Wire {
            v: "meta.k8s.io/v1".into(),
            rv: self.revision,
            start: self.start.clone(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// Reads a token.
    pub fn decode(text: &str) -> Result<Self> {
        let bad = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|e| bad(&e.to_string()))?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|e| bad(&e.to_string()))?;
        if wire.v != "meta.k8s.io/v1" {
            return Err(bad(&format!(
                "server does not recognize this encoded version {:?}",
                wire.v
            )));
        }
        if wire.rv == 0 {
            return Err(bad(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        let escapes = wire.start.split('/').any(|part| part == ".." || part == ".");
        if wire.start.is_empty() || wire.start.starts_with('/') || escapes {
            return Err(bad(&wire.start));
        }
        Ok(Self {
            revision: wire.rv,
            start: wire.start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_trip_and_a_forged_one_does_not() {
        let token = Token {
            revision: 7,
            start: "ns/name\0".into(),
        };
        assert_eq!(Token::decode(&token.encode()).unwrap(), token);
        for start in ["", "/x", "../y", "a/../b"] {
            assert!(
                Token::decode(
                    &Token {
                        revision: 7,
                        start: start.into()
                    }
                    .encode()
                )
                .is_err()
            );
        }
        assert!(Token::decode("%%%").is_err());
    }
}
