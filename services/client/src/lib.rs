//! A typed Kubernetes client over HTTP or in process.
//!
//! [`Transport`] is the seam: over TLS it is hyper ([`HttpTransport`]), inside `marinad` it is the API server's own
//! handler, so that controllers run unchanged in both and a test's "double" is the real API server without sockets.
//! [`Api`] is access to a kind that is compiled in, [`DynApi`] to any other.

pub mod client;
pub mod config;
mod dynamic;
mod error;
mod exec;
pub mod http;
mod params;
mod resource;
pub mod tls;
pub mod transport;
mod typed;
mod watch;

pub use client::{Call, Client};
pub use config::{Auth, Config, ConfigError};
pub use dynamic::{Discovered, Discovery, DynApi, Partial, discover};
pub use error::{Error, Status, StatusCause, StatusDetails};
pub use exec::{EnvVar, ExecPlugin};
pub use http::HttpTransport;
pub use params::{DeleteParams, ListParams, LogParams, Patch, Preconditions, Propagation, WatchParams};
pub use resource::Resource;
pub use transport::{Body, Transport, TransportError};
pub use typed::{Api, ObjectList};
pub use watch::WatchEvent;
