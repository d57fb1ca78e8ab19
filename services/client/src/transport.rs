//! How a request reaches an API server.

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// A body in either direction. A watch's body never ends by itself.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Why no answer came. (An HTTP error status is an answer.)
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection could not be made or broke: the request may be repeated if it was a read.
    #[error("cannot reach the API server: {0}")]
    Connect(#[source] std::io::Error),
    /// TLS refused the peer, or the peer refused us.
    #[error("TLS: {0}")]
    Tls(String),
    /// The request could not be built.
    #[error("bad request: {0}")]
    Request(String),
}

/// Sends one request. Implementations: HTTP over TLS, HTTP through the tunnel, in process.
///
/// The URI of the request is path and query only. In process, the cluster and the caller's identity are properties of
/// the transport, given when it was made; they never travel in headers.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends the request and returns the head of the answer with its body still streaming.
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError>;
}
