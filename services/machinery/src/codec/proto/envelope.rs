//! `runtime.Unknown` behind `k8s\0`: what an object of its own is wrapped in, on the wire and in the store.

use super::super::DecodeError;
use super::wire::{Reader, put_bytes, put_message};
use crate::{Catalog, TypeId};

/// The first bytes of every envelope.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// An opened envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`
    pub api_version: &'a str,
    /// `Deployment`
    pub kind: &'a str,
    /// The object's message.
    pub raw: &'a [u8],
}

impl Envelope<'_> {
    /// The type of what is inside.
    ///
    /// # Errors
    /// [`DecodeError::NoKind`] if the catalog has no such kind.
    pub(super) fn type_in(&self, catalog: &Catalog) -> Result<TypeId, DecodeError> {
        catalog
            .type_of(self.api_version, self.kind)
            .ok_or_else(|| DecodeError::NoKind {
                api_version: self.api_version.into(),
                kind: self.kind.into(),
            })
    }
}

/// Opens an envelope.
///
/// # Errors
/// [`DecodeError::Proto`] if it is none, or if its content is encoded once more.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let bytes = bytes
        .strip_prefix(MAGIC)
        .ok_or(DecodeError::Proto("no k8s\\0 prefix"))?;
    let mut envelope = Envelope {
        api_version: "",
        kind: "",
        raw: &[],
    };
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => {
                let mut inner = Reader::new(item.bytes()?);
                while let Some((number, item)) = inner.next()? {
                    match number {
                        1 => envelope.api_version = item.str()?,
                        2 => envelope.kind = item.str()?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = item.bytes()?,
            3 if !item.bytes()?.is_empty() => return Err(DecodeError::Proto("unknown content encoding")),
            _ => {}
        }
    }
    Ok(envelope)
}

/// Wraps a message that `write` appends.
pub fn wrap<E>(
    api_version: &str,
    kind: &str,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(MAGIC);
    put_message(&mut out, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
        Ok(())
    })?;
    put_message(&mut out, 2, write)?;
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    Ok(out)
}
