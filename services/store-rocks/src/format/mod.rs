//! The bytes on disk and between members. Ours alone: no type of a Raft library or of serde decides them.
//!
//! Every value is `version, body, CRC-32 of both` (little-endian). Integers are LEB128, except where they order keys
//! (big-endian). A value of an unknown version or with a wrong sum is an error, never a guess.

mod command;
mod entry;
mod state;

pub use command::{Submitted, decode_batch, encode_batch};
pub use entry::{Applied, Entry, LogId, Members, Payload, Vote};
pub(crate) use state::{Kind, cluster_prefix, kind_prefix, lease_key, meta_key, removed_key, row_key};
pub use state::{decode_change, encode_change};

use base::ClusterId;
use bytes::Bytes;

/// The version of everything written by this program.
const VERSION: u8 = 1;

/// Bytes that cannot be what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt data: {0}")]
pub struct Corrupt(pub String);

impl From<Corrupt> for std::io::Error {
    fn from(why: Corrupt) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, why)
    }
}

/// Writes one value.
pub struct Writer(Vec<u8>);

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A value with nothing in it yet.
    pub fn new() -> Self {
        Self(vec![VERSION])
    }

    /// One byte.
    pub fn byte(&mut self, b: u8) -> &mut Self {
        self.0.push(b);
        self
    }

    /// An unsigned integer.
    pub fn number(&mut self, mut n: u64) -> &mut Self {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
        self
    }

    /// A signed integer, as two's complement in an unsigned one.
    pub fn signed(&mut self, n: i64) -> &mut Self {
        self.number(n as u64)
    }

    /// Bytes with their length before them.
    pub fn bytes(&mut self, b: &[u8]) -> &mut Self {
        self.number(b.len() as u64);
        self.0.extend_from_slice(b);
        self
    }

    /// A cluster's id.
    pub fn cluster(&mut self, id: &ClusterId) -> &mut Self {
        self.bytes(id.as_str().as_bytes())
    }

    /// What is there or not.
    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
        self
    }

    /// The finished value.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.0);
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }
}

/// Reads one value back.
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The buffer that byte strings are cut out of, if they may share it.
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    /// Checks version and sum.
    pub fn new(value: &'a [u8]) -> Result<Self, Corrupt> {
        let Some((body, sum)) = value.split_last_chunk::<4>() else {
            return Err(Corrupt(format!("a value of {} bytes", value.len())));
        };
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(Corrupt("the checksum does not match".into()));
        }
        match body.split_first() {
            Some((&VERSION, rest)) => Ok(Self { rest, shared: None }),
            Some((version, _)) => Err(Corrupt(format!("version {version} is not known"))),
            None => Err(Corrupt("an empty value".into())),
        }
    }

    /// The same; byte strings share the buffer instead of being copied.
    pub fn sharing(value: &'a Bytes) -> Result<Self, Corrupt> {
        Ok(Self {
            shared: Some(value),
            ..Self::new(value)?
        })
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.rest.split_first().ok_or_else(short)?;
        self.rest = rest;
        Ok(*first)
    }

    /// An unsigned integer.
    pub fn number(&mut self) -> Result<u64, Corrupt> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            n |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Corrupt("an integer without an end".into()))
    }

    /// A signed integer.
    pub fn signed(&mut self) -> Result<i64, Corrupt> {
        Ok(self.number()? as i64)
    }

    /// How many of something follow; each takes at least one byte, so a lie is found before memory is taken.
    pub fn count(&mut self) -> Result<usize, Corrupt> {
        let n = self.number()?;
        if n > self.rest.len() as u64 {
            Err(short())
        } else {
            Ok(n as usize)
        }
    }

    /// Bytes, borrowed.
    pub fn slice(&mut self) -> Result<&'a [u8], Corrupt> {
        let n = self.count()?;
        let (bytes, rest) = self.rest.split_at(n);
        self.rest = rest;
        Ok(bytes)
    }

    /// Bytes, owned.
    pub fn bytes(&mut self) -> Result<Bytes, Corrupt> {
        let slice = self.slice()?;
        Ok(match self.shared {
            Some(buffer) if !slice.is_empty() => buffer.slice_ref(slice),
            _ => Bytes::copy_from_slice(slice),
        })
    }

    /// Text.
    pub fn text(&mut self) -> Result<&'a str, Corrupt> {
        std::str::from_utf8(self.slice()?).map_err(|_| Corrupt("text that is no UTF-8".into()))
    }

    /// A cluster's id.
    pub fn cluster(&mut self) -> Result<ClusterId, Corrupt> {
        self.text()?.parse().map_err(|e| Corrupt(format!("{e}")))
    }

    /// What is there or not.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Corrupt>,
    ) -> Result<Option<T>, Corrupt> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            other => Err(unknown("option", other)),
        }
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), Corrupt> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Corrupt(format!("{} bytes too many", self.rest.len())))
        }
    }
}

fn short() -> Corrupt {
    Corrupt("the value ends too early".into())
}

pub(crate) fn unknown(what: &str, tag: u8) -> Corrupt {
    Corrupt(format!("{what} {tag} is not known"))
}
