//! Identifiers that are types, so that a cluster can never be mistaken for a name or a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The identity of one tenant cluster (or of the management cluster): 1 to 63 characters of `[a-z0-9-]`,
/// beginning and ending with a letter or digit, so that it is also a DNS label and can stand in a TLS server name.
///
/// Cheap to clone. Every key, queue, watch, quota, metric and log line carries one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(Arc<str>);

/// The number of slots that clusters hash into, for each store group (design, section 6).
pub const SLOTS: u16 = 64;

impl ClusterId {
    /// The cluster that holds the service's own objects.
    pub fn management() -> Self {
        Self("management".into())
    }

    /// A fresh random id: `c` and 15 characters of base 32, 75 bits.
    pub fn generate() -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bits = uuid::Uuid::new_v4().as_u128();
        let mut id = String::with_capacity(16);
        id.push('c');
        // A version-4 UUID has fixed bits at 48..52 and 62..64 from the top; the low 62 bits are random, the rest
        // is taken from above them.
        bits ^= bits >> 64;
        for _ in 0..15 {
            id.push(char::from(ALPHABET[(bits & 31) as usize]));
            bits >>= 5;
        }
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The slot this cluster belongs to: FNV-1a of the id, modulo [`SLOTS`]. Stable for ever, because owners of
    /// slots in different versions of the program must agree on it.
    pub fn slot(&self) -> u16 {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in self.0.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        (hash % u64::from(SLOTS)) as u16
    }
}

/// A text that is no [`ClusterId`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no cluster id: 1 to 63 of [a-z0-9-], beginning and ending with a letter or digit")]
pub struct ClusterIdError(String);

impl FromStr for ClusterId {
    type Err = ClusterIdError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ok =
            (1..=63).contains(&s.len()) && s.bytes().all(inner) && !s.starts_with('-') && !s.ends_with('-');
        if ok {
            Ok(Self(s.into()))
        } else {
            Err(ClusterIdError(s.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for ClusterId {
    type Error = ClusterIdError;
    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.0.to_string()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_id_is_a_valid_id() {
        for _ in 0..200 {
            let id = ClusterId::generate();
            assert_eq!(id.as_str().parse::<ClusterId>().as_ref(), Ok(&id));
            assert!(id.slot() < SLOTS);
        }
        assert_ne!(ClusterId::generate(), ClusterId::generate());
    }

    #[test]
    fn what_is_no_dns_label_is_refused() {
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "..", &"a".repeat(64)] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn slots_never_change() {
        let id: ClusterId = "management".parse().unwrap();
        assert_eq!(id.slot(), ClusterId::management().slot());
        assert_eq!(
            "a".parse::<ClusterId>().unwrap().slot(),
            (0xaf63_dc4c_8601_ec8c_u64 % 64) as u16
        );
    }
}
