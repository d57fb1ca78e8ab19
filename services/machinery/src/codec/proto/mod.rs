//! Protobuf, as upstream's generated Go code writes it: fields by ascending number, map entries by key, fields that are
//! no pointer always written. The bytes of an object are therefore the same as upstream's.
//!
//! An object of its own travels in an envelope: four bytes `k8s\0`, then `runtime.Unknown` with apiVersion, kind and the
//! message. Inside the message there is neither apiVersion nor kind.

mod decode;
mod encode;
mod envelope;
pub mod frame;
mod peek;
mod text;
pub(crate) mod wire;

pub use decode::{decode, decode_message};
pub use encode::{EncodeError, encode, encode_message};
pub use envelope::{Envelope, MAGIC, open, wrap};
pub use peek::{Meta, OwnerRef, peek_json, peek_meta, with_resource_version};
pub use text::write_json;
