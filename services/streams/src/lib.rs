//! Streams inside one upgraded connection: what exec, attach, port-forward and log use.
//!
//! * [`spdy`]: SPDY/3.1 framing, which kubectl falls back to and containerd's streaming server speaks.
//! * [`websocket`]: the WebSocket handshake and a WebSocket as a stream of bytes.
//! * [`remote_command`]: one exec or attach session (`v5`/`v4.channel.k8s.io`), whatever carries it.
//! * [`upgrade`]: passes an upgrade on to the next hop and joins both connections, or returns the refusal.
//!
//! Between API server, kubelet and container runtime an upgrade is passed on byte for byte after it was authorized; only
//! WebSockets of version 5 are translated to SPDY, at the API server, because runtimes do not speak them.
//! Nothing is ever tunnelled unless the next hop answered 101.

pub mod remote_command;
pub mod spdy;
pub mod upgrade;
pub mod websocket;

use tokio::io::{AsyncRead, AsyncWrite};

/// Anything that bytes flow through both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A boxed [`Io`].
pub type BoxIo = Box<dyn Io>;

/// The header in which both ends agree on what the streams mean.
pub const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
