//! One outbound mTLS connection of each node carries both ways: the node and its pods to the API server, and the API server
//! to the node. The control plane needs no route into a tenant's network.
//!
//! * [`mux`]: streams with flow control over one connection.
//! * [`Agent`]: the node's end. Listens on the address of `kubernetes.default` and forwards each connection; dials what the
//!   API server asks for.
//! * [`TunnelServer`]: the API server's end. Knows which node of which cluster is connected, and is a [`Dialer`].
//!
//! A connection from inside a cluster is not trusted for coming through a tunnel: it ends in the API server's own TLS
//! accept loop, and its client is authenticated there; the tunnel only says which cluster is meant.

mod agent;
mod dialer;
mod frame;
mod identity;
pub mod mux;
mod server;
mod stream;

pub use agent::{Agent, AgentOptions, TlsSource};
pub use dialer::{BoxIo, DialError, Dialer, Direct, Io, Target};
pub use identity::{NotANode, node_of};
pub use server::{Inbound, TunnelServer};
pub use stream::MuxStream;

/// The protocol's name in ALPN.
pub const ALPN: &[u8] = b"marina-tunnel/1";
