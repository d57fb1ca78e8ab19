//! What this crate needs of `machinery`'s codecs, in its own terms.
//!
//! Built-in kinds are stored as enveloped protobuf. A tree that rules have touched is made canonical again before it is stored or
//! sent, so that what a client gets from a create is what it would get from a get.

use crate::kind::Kind;
use crate::negotiate::Media;
use crate::registry::FieldValidation;
use crate::status::{ApiError, Result};
use bytes::Bytes;
use kinds::Rules;
use machinery::codec::{self, DecodeOptions, Strictness, json, proto, yaml};
use machinery::{Catalog, Resource, TypeId, Value};
use store_api::Revision;

pub use machinery::codec::DecodeError;

/// The type of error answers.
pub const STATUS_TYPE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
/// The type of objects without anything but metadata.
pub const PARTIAL_TYPE: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// The rules of a kind.
pub fn rules(resource: &Resource) -> &'static dyn Rules {
    kinds::rules(resource.group, resource.kind)
}

/// A decoded body.
#[derive(Debug)]
pub struct Decoded {
    /// The object, canonical.
    pub object: Value,
    /// Unknown and duplicate fields.
    pub strict: Vec<String>,
}

fn options(validation: FieldValidation) -> DecodeOptions {
    let strictness = match validation {
        FieldValidation::Ignore => Strictness::Ignore,
        FieldValidation::Warn => Strictness::Warn,
        FieldValidation::Strict => Strictness::Strict,
    };
    DecodeOptions { strictness }
}

fn decoded(found: codec::Decoded) -> Decoded {
    let mut strict = found.warnings;
    strict.extend(found.strict_errors);
    Decoded {
        object: found.value,
        strict,
    }
}

/// Decodes a request's body as an object of a type.
pub fn decode(
    body: &[u8],
    media: Media,
    catalog: &Catalog,
    ty: TypeId,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    match media {
        Media::Json => json::decode(body, catalog, ty, options(validation)).map(decoded),
        Media::Yaml => yaml::decode(body, catalog, ty, options(validation)).map(decoded),
        Media::Protobuf => {
            let envelope = proto::open(body)?;
            // An envelope may leave the type out; what it says is compared with what is expected by the caller.
            if envelope.kind.is_empty() {
                let object = proto::decode_message(envelope.raw, catalog, ty)?;
                return Ok(Decoded {
                    object,
                    strict: Vec::new(),
                });
            }
            let (_, object) = proto::decode(body, catalog)?;
            Ok(Decoded {
                object,
                strict: Vec::new(),
            })
        }
    }
}

/// Decodes `DeleteOptions` in any encoding, of whatever group they say they are.
pub fn decode_delete_options(body: &[u8], media: Media, catalog: &Catalog) -> Result<Value, DecodeError> {
    let Some(ty) = catalog.by_name.get(DELETE_OPTIONS).copied() else {
        return Err(DecodeError::Limit("DeleteOptions are not in the catalog"));
    };
    match media {
        Media::Protobuf => proto::decode_message(proto::open(body)?.raw, catalog, ty),
        other => decode(body, other, catalog, ty, FieldValidation::Ignore).map(|d| d.object),
    }
}

/// Checks a tree that a patch has made, and makes it canonical.
pub fn check_tree(
    object: Value,
    catalog: &Catalog,
    ty: TypeId,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    codec::convert(object, catalog, ty, options(validation)).map(decoded)
}

/// Makes a tree canonical that rules have changed.
pub fn canonical(object: Value, kind: &Kind) -> Result<Value> {
    codec::convert(object, kind.catalog, kind.resource.ty, DecodeOptions::default())
        .map(|d| d.value)
        .map_err(|e| ApiError::internal(format!("the object does not fit its type: {e}")))
}

/// A stored object in the version it is stored in.
pub fn from_storage(bytes: &[u8], kind: &Kind) -> Result<Value, DecodeError> {
    proto::decode(bytes, kind.catalog).map(|(_, object)| object)
}

/// The bytes to store.
pub fn to_storage(object: &Value, kind: &Kind) -> Result<Bytes, proto::EncodeError> {
    let version = kind.storage.api_version();
    proto::encode(object, kind.catalog, kind.storage.ty, &version, kind.storage.kind).map(Bytes::from)
}

/// An object as enveloped protobuf; its type is read from itself.
pub fn to_proto(object: &Value, catalog: &Catalog, ty: TypeId) -> Result<Vec<u8>, proto::EncodeError> {
    let version = object.str_at(&["apiVersion"]).unwrap_or_default();
    proto::encode(
        object,
        catalog,
        ty,
        version,
        object.str_at(&["kind"]).unwrap_or_default(),
    )
}

/// The stored bytes with the resourceVersion inside.
pub fn splice_revision(bytes: &Bytes, revision: Revision) -> Result<Bytes> {
    let version = u64::try_from(revision).map_err(|e| broken(&e))?;
    proto::with_resource_version(bytes, version)
        .map(Bytes::from)
        .map_err(|e| broken(&e))
}

fn broken(why: &dyn std::fmt::Display) -> ApiError {
    ApiError::internal(format!("cannot decode a stored object: {why}"))
}

/// Appends a stored object as JSON: with `apiVersion` and `kind`, or without, as an item of a list.
pub fn stored_to_json(
    bytes: &Bytes,
    revision: Revision,
    kind: &Kind,
    with_type: bool,
    out: &mut Vec<u8>,
) -> Result<()> {
    let whole = splice_revision(bytes, revision)?;
    proto::write_json(&whole, kind.catalog, with_type, out).map_err(|e| broken(&e))
}

/// Parses any JSON.
pub fn parse_json(bytes: &[u8]) -> Result<Value, DecodeError> {
    json::parse(bytes)
}

/// Appends JSON.
pub fn write_json(value: &Value, out: &mut Vec<u8>) {
    json::write(value, out);
}

/// JSON with a newline at its end, as upstream sends it; indented if `pretty`.
pub fn to_json(value: &Value, pretty: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    if pretty {
        write_pretty(value, 0, &mut out);
    } else {
        json::write(value, &mut out);
        out.push(b'\n');
    }
    out
}

fn write_pretty(value: &Value, depth: usize, out: &mut Vec<u8>) {
    let indent = |depth: usize, out: &mut Vec<u8>| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    match value {
        Value::Map(map) if !map.is_empty() => {
            out.push(b'{');
            for (i, (key, value)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                indent(depth + 1, out);
                json::write_str(key, out);
                out.extend_from_slice(b": ");
                write_pretty(value, depth + 1, out);
            }
            indent(depth, out);
            out.push(b'}');
        }
        Value::List(list) if !list.is_empty() => {
            out.push(b'[');
            for (i, value) in list.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                indent(depth + 1, out);
                write_pretty(value, depth + 1, out);
            }
            indent(depth, out);
            out.push(b']');
        }
        other => json::write(other, out),
    }
}

/// YAML. Indented JSON is YAML.
pub fn to_yaml(value: &Value) -> Vec<u8> {
    to_json(value, true)
}

/// A type by its OpenAPI name.
pub fn named_type(catalog: &Catalog, name: &str) -> Result<TypeId> {
    catalog
        .by_name
        .get(name)
        .copied()
        .ok_or_else(|| ApiError::internal(format!("no type {name} in the catalog")))
}

/// The type of an object that says what it is.
pub fn type_of(catalog: &Catalog, object: &Value) -> Option<TypeId> {
    catalog.type_of(object.str_at(&["apiVersion"])?, object.str_at(&["kind"])?)
}
