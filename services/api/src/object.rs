//! Typed access: the kinds that components work with, as Rust types.
//!
//! The types are `k8s-openapi`'s; how they are decoded and encoded is ours, over the same table as everything else, so
//! that a typed object and a tree of the same object never differ on the wire. The functions are no generics: they are
//! compiled once, here, and not in each of the crates that use them.

use std::fmt::Debug;

use machinery::codec::{DecodeError, DecodeOptions, convert, json, proto};
use machinery::{TypeId, Value, bridge};

use crate::ObjectMeta;

/// A kind with metadata that is compiled in.
pub trait Object: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// API group; empty for core.
    const GROUP: &'static str;
    /// API version, without the group.
    const VERSION: &'static str;
    /// `apps/v1`: group and version as objects write them.
    const API_VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Plural name, as in paths.
    const PLURAL: &'static str;
    /// Whether objects live in namespaces.
    const NAMESPACED: bool;

    /// Decodes enveloped protobuf (`k8s\0`) or JSON, whichever it is.
    ///
    /// # Errors
    /// [`DecodeError`] if it is neither, or an object of another kind.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
    /// Takes a tree.
    ///
    /// # Errors
    /// [`DecodeError::Type`] if it does not fit.
    fn from_value(value: Value) -> Result<Self, DecodeError>;
    /// The object as a canonical tree, with `apiVersion` and `kind`.
    fn to_value(&self) -> Value;
    /// The object as JSON.
    fn encode_json(&self) -> Vec<u8>;
    /// The object as enveloped protobuf.
    ///
    /// # Errors
    /// [`DecodeError::Type`] if a field holds what its type does not allow, such as a quantity that is none.
    fn encode_proto(&self) -> Result<Vec<u8>, DecodeError>;
    /// Its metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Its metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;

    /// Its name; empty if it has none yet.
    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or("")
    }
    /// Its namespace; empty if it has none.
    fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or("")
    }
    /// Its uid; empty if it has none yet.
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or("")
    }
}

/// Decodes JSON or protobuf into a tree of the newest catalog.
pub(crate) fn tree(bytes: &[u8], api_version: &str, kind: &str) -> Result<Value, DecodeError> {
    let catalog = crate::newest();
    if bytes.starts_with(proto::MAGIC) {
        return proto::decode(bytes, catalog).map(|(_, value)| value);
    }
    let ty = type_of(api_version, kind)?;
    json::decode(bytes, catalog, ty, DecodeOptions::default()).map(|decoded| decoded.value)
}

fn type_of(api_version: &str, kind: &str) -> Result<TypeId, DecodeError> {
    crate::newest()
        .type_of(api_version, kind)
        .ok_or_else(|| DecodeError::NoKind {
            api_version: api_version.into(),
            kind: kind.into(),
        })
}

/// A Rust value as a canonical tree. What is no valid value of its field is left as it stands.
pub(crate) fn canonical<T: serde::Serialize>(object: &T, api_version: &str, kind: &str) -> Value {
    let plain = || bridge::to_value(object).unwrap_or_default();
    checked(object, api_version, kind).unwrap_or_else(|_| plain())
}

fn checked<T: serde::Serialize>(object: &T, api_version: &str, kind: &str) -> Result<Value, DecodeError> {
    let plain = bridge::to_value(object).map_err(|e| DecodeError::Type(e.0))?;
    let ty = type_of(api_version, kind)?;
    convert(plain, crate::newest(), ty, DecodeOptions::default()).map(|decoded| decoded.value)
}

pub(crate) fn encode_proto<T: serde::Serialize>(
    object: &T,
    api_version: &str,
    kind: &str,
) -> Result<Vec<u8>, DecodeError> {
    let value = checked(object, api_version, kind)?;
    proto::encode(
        &value,
        crate::newest(),
        type_of(api_version, kind)?,
        api_version,
        kind,
    )
    .map_err(|e| DecodeError::Type(e.to_string()))
}

/// Implements [`Object`] for types of `k8s-openapi`.
macro_rules! objects {
    ($($path:path),* $(,)?) => {$(
        impl $crate::Object for $path {
            const GROUP: &'static str = <$path as k8s_openapi::Resource>::GROUP;
            const VERSION: &'static str = <$path as k8s_openapi::Resource>::VERSION;
            const API_VERSION: &'static str = <$path as k8s_openapi::Resource>::API_VERSION;
            const KIND: &'static str = <$path as k8s_openapi::Resource>::KIND;
            const PLURAL: &'static str = <$path as k8s_openapi::Resource>::URL_PATH_SEGMENT;
            const NAMESPACED: bool = <<$path as k8s_openapi::Resource>::Scope as $crate::object::Scoped>::NAMESPACED;

            fn decode(bytes: &[u8]) -> Result<Self, machinery::codec::DecodeError> {
                Self::from_value($crate::object::tree(bytes, Self::API_VERSION, Self::KIND)?)
            }
            fn from_value(value: machinery::Value) -> Result<Self, machinery::codec::DecodeError> {
                machinery::bridge::from_value(value).map_err(|e| machinery::codec::DecodeError::Type(e.0))
            }
            fn to_value(&self) -> machinery::Value {
                $crate::object::canonical(self, Self::API_VERSION, Self::KIND)
            }
            fn encode_json(&self) -> Vec<u8> {
                machinery::codec::json::to_vec(&self.to_value())
            }
            fn encode_proto(&self) -> Result<Vec<u8>, machinery::codec::DecodeError> {
                $crate::object::encode_proto(self, Self::API_VERSION, Self::KIND)
            }
            fn meta(&self) -> &$crate::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut $crate::ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}
pub(crate) use objects;

/// `k8s-openapi`'s marker of scope as a constant.
pub(crate) trait Scoped {
    const NAMESPACED: bool;
}
impl Scoped for k8s_openapi::NamespaceResourceScope {
    const NAMESPACED: bool = true;
}
impl Scoped for k8s_openapi::ClusterResourceScope {
    const NAMESPACED: bool = false;
}
impl Scoped for k8s_openapi::SubResourceScope {
    const NAMESPACED: bool = true;
}
