//! API machinery: what Kubernetes calls `apimachinery`, driven by one schema table and nothing else.
//!
//! A request is decoded into a [`Value`] tree that dies with the request; what is kept is encoded bytes. The same
//! [`schema`] drives JSON, YAML and protobuf, strict decoding, patches, pruning and OpenAPI, so that a kind is
//! described once. Nothing here knows a kind by name, reads a clock or does I/O.

pub mod bridge;
pub mod codec;
pub mod name;
pub mod patch;
pub mod quantity;
pub mod quote;
pub mod schema;
pub mod selector;
pub mod value;

pub use schema::{Catalog, Field, FieldType, ListType, Resource, Subresource, TypeDef, TypeId};
pub use value::{Key, Map, Value};
