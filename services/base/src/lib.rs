//! Ground layer: the things that every other crate needs and nothing else may redefine.
//!
//! Ids are types, time comes from a [`Clock`], shutdown is a value that is passed in, and telemetry is set up
//! in one place. Nothing here knows what Kubernetes is.

pub mod clock;
pub mod id;
pub mod shutdown;
pub mod telemetry;
pub mod trace;

pub use clock::Clock;
pub use id::{ClusterId, ClusterIdError};
pub use shutdown::Shutdown;
