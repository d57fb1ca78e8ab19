//! The Container Runtime Interface v1: what a kubelet says to a container runtime over a Unix socket.
//!
//! [`v1`] is generated from `proto/runtime.v1.proto` (see `examples/generate.rs`) and committed. [`Runtime`] holds
//! both clients on one connection. Server traits are generated too, so that a test can stand in for a runtime.

pub mod connect;
mod traced;

/// Messages, clients and servers of `runtime.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, rustdoc::all)]
pub mod v1 {
    include!("generated/runtime.v1.rs");
}

pub use connect::{ConnectError, Runtime};
pub use traced::Traced;
