//! A typed Kubernetes client over HTTP or in process.
//!
//! [`Transport`] is the seam: over TLS it is hyper, inside `marinad` it is the API server's own handler, so that
//! controllers run unchanged in both and a test's "double" is the real API server without sockets.

pub mod transport;
pub use transport::{Body, Transport, TransportError};
