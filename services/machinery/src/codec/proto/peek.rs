//! Looking at the metadata of an encoded object without decoding the object.
//!
//! `metadata` is field 1 of every kind, and its own fields have fixed numbers, so that lists, selectors, watches and the
//! garbage collector read a few bytes of each object. The revision is not stored inside the object; it is spliced into
//! the bytes on the way out.

use super::super::{DecodeError, json};
use super::envelope;
use super::wire::{BYTES, Item, Reader, put_bytes, put_tag, put_varint, varint_len};
use crate::Value;

/// What is often asked of an object's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `apiVersion`
    pub api_version: String,
    /// `kind`
    pub kind: String,
    /// `metadata.name`
    pub name: String,
    /// `metadata.namespace`, empty for what lives in none.
    pub namespace: String,
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.generation`, 0 if not set.
    pub generation: i64,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.labels`
    pub labels: Vec<(String, String)>,
    /// `metadata.finalizers`
    pub finalizers: Vec<String>,
    /// `metadata.ownerReferences`
    pub owners: Vec<OwnerRef>,
}

/// One owner reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerRef {
    /// Version of the owner's kind.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// The owner's uid.
    pub uid: String,
    /// Whether it is the managing controller.
    pub controller: bool,
    /// Whether the owner's foreground deletion waits for this object.
    pub block_owner_deletion: bool,
}

impl Meta {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| k == key).map(|(_, v)| &**v)
    }
}

/// The metadata of an enveloped object; `None` if the bytes are no such object.
pub fn peek_meta(bytes: &[u8]) -> Option<Meta> {
    read(bytes).ok()
}

fn read(bytes: &[u8]) -> Result<Meta, DecodeError> {
    let envelope = envelope::open(bytes)?;
    let mut meta = Meta {
        api_version: envelope.api_version.into(),
        kind: envelope.kind.into(),
        ..Meta::default()
    };
    let Some(item) = Reader::new(envelope.raw).find(1)? else {
        return Ok(meta);
    };
    let mut reader = Reader::new(item.bytes()?);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => meta.name = item.str()?.into(),
            3 => meta.namespace = item.str()?.into(),
            5 => meta.uid = item.str()?.into(),
            7 => meta.generation = item.int()? as i64,
            9 => meta.deleting = !item.bytes()?.is_empty(),
            11 => {
                let entry = Reader::new(item.bytes()?);
                let part = |n| entry.find(n).and_then(|i| i.map_or(Ok(""), Item::str));
                meta.labels.push((part(1)?.into(), part(2)?.into()));
            }
            13 => meta.owners.push(owner(item.bytes()?)?),
            14 => meta.finalizers.push(item.str()?.into()),
            _ => {}
        }
    }
    Ok(meta)
}

fn owner(bytes: &[u8]) -> Result<OwnerRef, DecodeError> {
    let mut owner = OwnerRef::default();
    let mut reader = Reader::new(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => owner.kind = item.str()?.into(),
            3 => owner.name = item.str()?.into(),
            4 => owner.uid = item.str()?.into(),
            5 => owner.api_version = item.str()?.into(),
            6 => owner.controller = item.int()? != 0,
            7 => owner.block_owner_deletion = item.int()? != 0,
            _ => {}
        }
    }
    Ok(owner)
}

/// The metadata of an object in JSON (custom resources are stored as such); `None` if it is no object.
pub fn peek_json(bytes: &[u8]) -> Option<Meta> {
    let value = json::parse(bytes).ok()?;
    value.as_map()?;
    Some(Meta::of(&value))
}

impl Meta {
    /// The metadata of a decoded object.
    pub fn of(object: &Value) -> Self {
        let meta = object.at(&["metadata"]);
        let text = |v: &Value, key: &str| v[key].as_str().unwrap_or("").to_owned();
        let flag = |v: &Value, key: &str| v[key].as_bool().unwrap_or(false);
        let owner = |v: &Value| OwnerRef {
            api_version: text(v, "apiVersion"),
            kind: text(v, "kind"),
            name: text(v, "name"),
            uid: text(v, "uid"),
            controller: flag(v, "controller"),
            block_owner_deletion: flag(v, "blockOwnerDeletion"),
        };
        let labels = meta["labels"].as_map().into_iter().flat_map(|m| m.iter());
        let finalizers = meta.list_at(&["finalizers"]).iter().filter_map(Value::as_str);
        Self {
            api_version: text(object, "apiVersion"),
            kind: text(object, "kind"),
            name: text(meta, "name"),
            namespace: text(meta, "namespace"),
            uid: text(meta, "uid"),
            generation: meta["generation"].as_i64().unwrap_or(0),
            deleting: !meta["deletionTimestamp"].is_null(),
            labels: labels
                .map(|(k, v)| (k.to_owned(), v.as_str().unwrap_or("").to_owned()))
                .collect(),
            finalizers: finalizers.map(str::to_owned).collect(),
            owners: meta.list_at(&["ownerReferences"]).iter().map(owner).collect(),
        }
    }
}

/// `metadata.resourceVersion` in `ObjectMeta`.
const RESOURCE_VERSION: u32 = 6;

/// A copy of an enveloped object with `metadata.resourceVersion` set, made without decoding it.
///
/// # Errors
/// [`DecodeError::Proto`] if the bytes are no enveloped object.
pub fn with_resource_version(bytes: &[u8], version: u64) -> Result<Vec<u8>, DecodeError> {
    let envelope = envelope::open(bytes)?;
    let mut version_text = itoa::Buffer::new();
    let version = version_text.format(version).as_bytes();

    // The metadata is the first field of every message that Go writes; others are looked for.
    let mut reader = Reader::new(envelope.raw);
    let (before, meta, after) = loop {
        let start = envelope.raw.len() - reader.rest.len();
        match reader.next()? {
            Some((1, item)) => break (&envelope.raw[..start], item.bytes()?, reader.rest),
            Some(_) => {}
            None => break (&[][..], &[][..], envelope.raw),
        }
    };

    // Where the version stands or belongs within the metadata.
    let mut reader = Reader::new(meta);
    let mut cut = (meta.len(), meta.len());
    loop {
        let start = meta.len() - reader.rest.len();
        match reader.next()? {
            Some((RESOURCE_VERSION, _)) => {
                cut = (start, meta.len() - reader.rest.len());
                break;
            }
            Some((number, _)) if number > RESOURCE_VERSION => {
                cut = (start, start);
                break;
            }
            Some(_) => {}
            None => break,
        }
    }
    let field = 1 + varint_len(version.len() as u64) + version.len();
    let meta_len = meta.len() - (cut.1 - cut.0) + field;
    let raw_len = before.len() + 1 + varint_len(meta_len as u64) + meta_len + after.len();

    let mut out = Vec::with_capacity(raw_len + envelope.api_version.len() + envelope.kind.len() + 32);
    out.extend_from_slice(envelope::MAGIC);
    let (v, k) = (envelope.api_version.as_bytes(), envelope.kind.as_bytes());
    put_tag(&mut out, 1, BYTES);
    let types = 2 + varint_len(v.len() as u64) + v.len() + varint_len(k.len() as u64) + k.len();
    put_varint(&mut out, types as u64);
    put_bytes(&mut out, 1, v);
    put_bytes(&mut out, 2, k);
    put_tag(&mut out, 2, BYTES);
    put_varint(&mut out, raw_len as u64);
    out.extend_from_slice(before);
    put_tag(&mut out, 1, BYTES);
    put_varint(&mut out, meta_len as u64);
    out.extend_from_slice(&meta[..cut.0]);
    put_bytes(&mut out, RESOURCE_VERSION, version);
    out.extend_from_slice(&meta[cut.1..]);
    out.extend_from_slice(after);
    put_bytes(&mut out, 3, b"");
    put_bytes(&mut out, 4, b"");
    Ok(out)
}
