//! Bootstrap tokens: `<id>.<secret>`, as in the Kubernetes documentation ("Authenticating with Bootstrap Tokens").
//! A node shows one once, to ask for its first certificate.

use std::fmt;

/// A bootstrap token. `Debug` shows only its id.
#[derive(Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    id: String,
    secret: String,
}

impl BootstrapToken {
    /// A fresh random token: 31 bits of id, 82 bits of secret.
    pub fn generate() -> Self {
        const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let text = |len: usize| -> String {
            let mut out = String::with_capacity(len);
            while out.len() < len {
                // Bytes above 251 are dropped so that all 36 characters are equally likely; byte 6 and 8 of a v4
                // UUID hold fixed bits and are skipped.
                for (at, byte) in uuid::Uuid::new_v4().into_bytes().into_iter().enumerate() {
                    if byte < 252 && at != 6 && at != 8 && out.len() < len {
                        out.push(char::from(ALPHABET[usize::from(byte) % 36]));
                    }
                }
            }
            out
        };
        Self {
            id: text(6),
            secret: text(16),
        }
    }

    /// Reads `<6>.<16>` of `[a-z0-9]`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        let ok = |s: &str, len: usize| {
            s.len() == len && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        (ok(id, 6) && ok(secret, 16)).then(|| Self {
            id: id.into(),
            secret: secret.into(),
        })
    }

    /// The public half, which names the Secret `bootstrap-token-<id>` in `kube-system`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret half.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Whether the secret half equals the stored one; takes the same time whatever differs.
    pub fn matches(&self, stored: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.secret.as_bytes(), stored.as_bytes()).is_ok()
    }

    /// The whole token, as a client sends it.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

impl fmt::Debug for BootstrapToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BootstrapToken({}.<secret>)", self.id)
    }
}
