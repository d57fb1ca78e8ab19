//! The few fields that a cache keeps decoded, read straight from encoded bytes.
//!
//! An informer sees every object of every cluster; building a typed object for each would cost more than all else. So
//! metadata is picked out of the two stored forms by hand: `k8s\0` protobuf (field numbers of
//! `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`) and JSON. Everything else stays bytes.

use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A reference to an owner, as far as controllers need it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Owner {
    /// Group and version.
    pub api_version: Box<str>,
    /// Kind.
    pub kind: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Uid.
    pub uid: Box<str>,
    /// Whether this owner manages the object.
    pub controller: bool,
    /// Whether the owner's foreground deletion waits for the object.
    pub block: bool,
}

impl Owner {
    /// The group, without the version.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }
}

/// What is known of an object without decoding it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// `metadata.labels`.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// `metadata.ownerReferences`.
    pub owners: Box<[Owner]>,
    /// `metadata.finalizers`.
    pub finalizers: Box<[Box<str>]>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `metadata.generation`.
    pub generation: i64,
    /// Values of the kind's indexed fields, in the order they were declared; empty where absent.
    pub fields: Box<[Box<str>]>,
}

impl Header {
    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|o| o.controller)
    }
    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }
    /// Whether a finalizer is set.
    pub fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|f| &**f == name)
    }
    /// Whether a selector matches the labels.
    pub fn matches(&self, selector: &machinery::selector::Selector) -> bool {
        selector.matches_by(|key| self.label(key))
    }
}

/// A string field that a cache indexes, in both encodings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath {
    /// Its name in lookups, e.g. `spec.nodeName`.
    pub name: &'static str,
    /// Protobuf field numbers from the object down.
    pub proto: &'static [u32],
    /// JSON members from the object down.
    pub json: &'static [&'static str],
}

/// The node a pod is bound to.
pub const POD_NODE: FieldPath = FieldPath {
    name: "spec.nodeName",
    proto: &[2, 10],
    json: &["spec", "nodeName"],
};

/// Bytes that are neither protobuf nor JSON of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no stored object")]
pub struct HeaderError;

const MAGIC: &[u8] = b"k8s\0";

/// Reads a header.
pub fn read(value: &[u8], fields: &[FieldPath]) -> Result<Header, HeaderError> {
    match value.strip_prefix(MAGIC) {
        Some(rest) => proto(rest, fields),
        None => json(value, fields),
    }
}

/// One field of a protobuf message.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Reads a message field by field; anything malformed ends it with an error.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn varint(&mut self) -> Result<u64, HeaderError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first().ok_or(HeaderError)?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(HeaderError)
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], HeaderError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(HeaderError)?;
        self.0 = rest;
        Ok(head)
    }

    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, HeaderError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| HeaderError)?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let n = usize::try_from(self.varint()?).map_err(|_| HeaderError)?;
                Wire::Bytes(self.take(n)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return Err(HeaderError),
        };
        Ok(Some((number, wire)))
    }

    /// The last occurrence of a length-delimited field.
    fn field(message: &'a [u8], wanted: u32) -> Result<Option<&'a [u8]>, HeaderError> {
        let (mut m, mut found) = (Message(message), None);
        while let Some((number, wire)) = m.next()? {
            if let (true, Wire::Bytes(b)) = (number == wanted, wire) {
                found = Some(b);
            }
        }
        Ok(found)
    }
}

fn text(bytes: &[u8]) -> Result<Box<str>, HeaderError> {
    std::str::from_utf8(bytes)
        .map(Into::into)
        .map_err(|_| HeaderError)
}

fn proto(envelope: &[u8], fields: &[FieldPath]) -> Result<Header, HeaderError> {
    let raw = Message::field(envelope, 2)?.unwrap_or_default();
    let meta = Message::field(raw, 1)?.unwrap_or_default();
    let mut header = Header::default();
    let (mut labels, mut owners, mut finalizers) = (Vec::new(), Vec::new(), Vec::new());
    let mut m = Message(meta);
    while let Some(field) = m.next()? {
        match field {
            (5, Wire::Bytes(b)) => header.uid = text(b)?,
            (7, Wire::Number(n)) => header.generation = n.cast_signed(),
            (9, Wire::Bytes(_)) => header.deleting = true,
            (11, Wire::Bytes(b)) => {
                let part = |n| Message::field(b, n).and_then(|p| text(p.unwrap_or_default()));
                labels.push((part(1)?, part(2)?));
            }
            (13, Wire::Bytes(b)) => owners.push(owner(b)?),
            (14, Wire::Bytes(b)) => finalizers.push(text(b)?),
            _ => {}
        }
    }
    header.labels = labels.into();
    header.owners = owners.into();
    header.finalizers = finalizers.into();
    let mut values = Vec::with_capacity(fields.len());
    for path in fields {
        let mut here = Some(raw);
        for number in path.proto {
            here = match here {
                Some(message) => Message::field(message, *number)?,
                None => None,
            };
        }
        values.push(text(here.unwrap_or_default())?);
    }
    header.fields = values.into();
    Ok(header)
}

fn owner(message: &[u8]) -> Result<Owner, HeaderError> {
    let mut owner = Owner::default();
    let mut m = Message(message);
    while let Some(field) = m.next()? {
        match field {
            (1, Wire::Bytes(b)) => owner.kind = text(b)?,
            (3, Wire::Bytes(b)) => owner.name = text(b)?,
            (4, Wire::Bytes(b)) => owner.uid = text(b)?,
            (5, Wire::Bytes(b)) => owner.api_version = text(b)?,
            (6, Wire::Number(n)) => owner.controller = n != 0,
            (7, Wire::Number(n)) => owner.block = n != 0,
            _ => {}
        }
    }
    Ok(owner)
}

#[derive(Deserialize)]
struct JsonObject<'a> {
    #[serde(borrow, default)]
    metadata: JsonMeta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JsonMeta<'a> {
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    generation: Option<i64>,
    #[serde(borrow)]
    deletion_timestamp: Option<Cow<'a, str>>,
    labels: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<JsonOwner>>,
    finalizers: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonOwner {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

fn json(value: &[u8], fields: &[FieldPath]) -> Result<Header, HeaderError> {
    let object: JsonObject<'_> = serde_json::from_slice(value).map_err(|_| HeaderError)?;
    let meta = object.metadata;
    let owners = meta
        .owner_references
        .unwrap_or_default()
        .into_iter()
        .map(|o| Owner {
            api_version: o.api_version.into(),
            kind: o.kind.into(),
            name: o.name.into(),
            uid: o.uid.into(),
            controller: o.controller.unwrap_or(false),
            block: o.block_owner_deletion.unwrap_or(false),
        });
    let mut values = Vec::with_capacity(fields.len());
    if !fields.is_empty() {
        let tree: serde_json::Value = serde_json::from_slice(value).map_err(|_| HeaderError)?;
        for path in fields {
            let found = path.json.iter().fold(&tree, |v, member| &v[*member]);
            values.push(found.as_str().unwrap_or("").into());
        }
    }
    Ok(Header {
        uid: meta.uid.unwrap_or_default().into(),
        labels: meta
            .labels
            .unwrap_or_default()
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        owners: owners.collect(),
        finalizers: meta
            .finalizers
            .unwrap_or_default()
            .into_iter()
            .map(Into::into)
            .collect(),
        deleting: meta.deletion_timestamp.is_some(),
        generation: meta.generation.unwrap_or(0),
        fields: values.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    #[test]
    fn protobuf_and_json_give_the_same_header() {
        let owner = [
            field(1, b"ReplicaSet"),
            field(3, b"rs"),
            field(4, b"u2"),
            field(5, b"apps/v1"),
            vec![6 << 3, 1],
        ];
        let meta = [
            field(1, b"web"),
            field(5, b"u1"),
            vec![7 << 3, 3],
            field(9, b""),
            field(11, &[field(1, b"app"), field(2, b"web")].concat()),
            field(13, &owner.concat()),
            field(14, b"foregroundDeletion"),
        ];
        let raw = [field(1, &meta.concat()), field(2, &field(10, b"node-1"))].concat();
        let bytes = [b"k8s\0".to_vec(), field(1, b""), field(2, &raw)].concat();
        let json = br#"{"metadata":{"name":"web","uid":"u1","generation":3,"deletionTimestamp":"2026-01-01T00:00:00Z",
            "labels":{"app":"web"},"finalizers":["foregroundDeletion"],
            "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"rs","uid":"u2","controller":true}]},
            "spec":{"nodeName":"node-1"}}"#;
        let (a, b) = (
            read(&bytes, &[POD_NODE]).unwrap(),
            read(json, &[POD_NODE]).unwrap(),
        );
        assert_eq!(a, b);
        assert_eq!(
            (&*a.fields[0], a.label("app"), a.controller().unwrap().group()),
            ("node-1", Some("web"), "apps")
        );
    }

    #[test]
    fn no_prefix_of_an_object_makes_it_panic() {
        let bytes = [
            b"k8s\0".to_vec(),
            field(2, &field(1, &field(13, &field(1, b"x")))),
        ]
        .concat();
        for n in 0..bytes.len() {
            let _either = read(&bytes[..n], &[POD_NODE]);
        }
        assert_eq!(read(b"k8s\0\xff", &[]), Err(HeaderError));
    }
}
