//! Between the store's bytes and the pipeline: keys, headers, trees.
//!
//! A record's header (labels and selectable fields) is derived once, beside the record, and only when somebody
//! filters; everything else that is known of a record is its bytes. A tree is made for a request and dies with it.

use crate::codec;
use crate::convert;
use crate::kind::Kind;
use crate::status::{ApiError, Result};
use base::ClusterId;
use bytes::Bytes;
use machinery::Value;
use store_api::{Error, Key, Record, Revision, Span};

/// What selectors look at.
#[derive(Debug, Default)]
pub struct Header {
    name: Box<str>,
    namespace: Box<str>,
    labels: Box<[(Box<str>, Box<str>)]>,
    fields: Box<[(&'static str, Box<str>)]>,
}

impl Header {
    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| **k == *key).map(|(_, v)| &**v)
    }
    /// A selectable field's value; empty where the object has none.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            other => Some(
                self.fields
                    .iter()
                    .find(|(k, _)| *k == other)
                    .map_or("", |(_, v)| v),
            ),
        }
    }

    /// The header of a tree.
    pub fn of(object: &Value, kind: &Kind) -> Self {
        let meta = &object["metadata"];
        let labels = meta["labels"].as_map().into_iter().flat_map(machinery::Map::iter);
        Self {
            name: meta["name"].as_str().unwrap_or("").into(),
            namespace: meta["namespace"].as_str().unwrap_or("").into(),
            labels: labels
                .filter_map(|(k, v)| Some((k.into(), v.as_str()?.into())))
                .collect(),
            fields: kind
                .rules
                .selectable_fields(object)
                .into_iter()
                .map(|(k, v)| (k, v.into()))
                .collect(),
        }
    }
}

/// The header of a record, derived at the first call. A value that cannot be decoded has an empty header: it shows
/// up in unfiltered lists as the error that it is, and in no filtered one.
pub fn header<'r>(record: &'r Record, kind: &Kind) -> &'r Header {
    record
        .derived
        .get_or_init(|| match codec::from_storage(&record.value, kind) {
            Ok(tree) => Header::of(&tree, kind),
            Err(_) => Header::default(),
        })
}

/// The key of an object. Names that can be no part of a key are not found.
pub fn key(cluster: &ClusterId, kind: &Kind, namespace: &str, name: &str) -> Result<Key> {
    let namespace = kind.resource.namespaced.then_some(namespace);
    Key::object(cluster, kind.resource.storage_prefix, namespace, name)
        .map_err(|_| ApiError::not_found(kind.group(), kind.plural(), name))
}

/// All objects of a kind, in one namespace if that is not empty.
pub fn span(cluster: &ClusterId, kind: &Kind, namespace: &str) -> Result<Span> {
    let namespace = (kind.resource.namespaced && !namespace.is_empty()).then_some(namespace);
    Span::collection(cluster, kind.resource.storage_prefix, namespace)
        .map_err(|e| ApiError::bad_request(e.to_string()))
}

/// A stored object in the request's version, with its resourceVersion.
pub fn load(record: &Record, kind: &Kind) -> Result<Value> {
    load_at(&record.value, record.mod_revision, kind)
}

/// As [`load`], with another resourceVersion: the last state of a deleted object carries that of the deletion.
pub fn load_at(value: &[u8], revision: Revision, kind: &Kind) -> Result<Value> {
    let tree = codec::from_storage(value, kind)
        .map_err(|e| ApiError::internal(format!("cannot decode a stored object: {e}")))?;
    let mut tree = convert::convert(tree, kind.storage, kind.resource);
    set_revision(&mut tree, revision);
    Ok(tree)
}

/// The bytes to store for an object in the request's version.
pub fn dump(object: &Value, kind: &Kind) -> Result<Bytes> {
    let mut tree = object.clone();
    if let Some(Value::Map(meta)) = tree.get_mut("metadata") {
        meta.remove("resourceVersion");
        meta.remove("selfLink");
    }
    let tree = convert::convert(tree, kind.resource, kind.storage);
    codec::to_storage(&tree, kind).map_err(|e| ApiError::internal(format!("cannot encode an object: {e}")))
}

/// Sets `metadata.resourceVersion`.
pub fn set_revision(object: &mut Value, revision: Revision) {
    object
        .at_mut(&["metadata"])
        .insert("resourceVersion", revision.to_string());
}

/// What a store error means to a client.
pub fn store_error(error: Error, kind: &Kind, verb: &str) -> ApiError {
    match error {
        Error::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
        Error::FutureRevision { asked, current } => ApiError::future_version(asked, current),
        Error::QuotaExceeded { what, .. } => ApiError::forbidden(
            kind.group(),
            kind.plural(),
            "",
            &format!("the cluster's storage quota is used up: {what}"),
        ),
        Error::TooLarge(_) => ApiError::too_large(crate::limits::MAX_BODY),
        Error::Fenced(why) => {
            ApiError::forbidden(kind.group(), kind.plural(), "", &format!("fenced off: {why}"))
        }
        Error::ClusterGone(_) => ApiError::unavailable("the cluster is being removed"),
        Error::Unavailable(why) => {
            tracing::warn!(%why, verb, "the store is not available");
            ApiError::server_timeout(kind.group(), kind.plural(), verb, 1)
        }
        other => ApiError::internal(other.to_string()),
    }
}
