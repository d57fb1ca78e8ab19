//! Between trees and Rust types that speak serde, with no text in between.
//!
//! `k8s-openapi`'s types and our own configuration types go through here. Keys are static on the way in, and strings are
//! moved, not copied, on the way out.

mod from;
mod impls;
mod to;

use crate::Value;

/// Why a tree does not fit a Rust type, or the other way round.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BridgeError(pub String);

impl serde::de::Error for BridgeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::ser::Error for BridgeError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads a Rust value out of a tree.
///
/// # Errors
/// [`BridgeError`] if the tree does not fit.
pub fn from_value<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, BridgeError> {
    T::deserialize(from::From(value))
}

/// Writes a Rust value as a tree.
///
/// # Errors
/// [`BridgeError`] for what no JSON can hold: map keys that are no strings, integers above 63 bits.
pub fn to_value<T: serde::Serialize + ?Sized>(value: &T) -> Result<Value, BridgeError> {
    value.serialize(to::To)
}
