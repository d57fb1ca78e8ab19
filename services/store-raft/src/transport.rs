//! How members reach each other: opaque requests and answers. TLS over TCP in production ([`crate::tls`]); tests and
//! simulations put their own in.

use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// A member's number in its group. Never given to another member again.
pub type MemberId = u64;

/// Why a request was not answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection: the request was certainly not handled.
    #[error("member {0} cannot be reached: {1}")]
    Unreachable(MemberId, String),
    /// No answer: the request may have been handled.
    #[error("member {0} did not answer: {1}")]
    NoAnswer(MemberId, String),
}

/// Sends requests to other members.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends a request and waits for the answer, at most `patience`.
    async fn call(&self, to: MemberId, request: Bytes, patience: Duration) -> Result<Bytes, TransportError>;
}

/// Answers requests of other members. The transport vouches for who asks.
#[async_trait]
pub trait Answer: Send + Sync + 'static {
    /// Answers one request of member `from`.
    async fn answer(&self, from: MemberId, request: Bytes) -> Bytes;
}

/// The transport of a group of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

#[async_trait]
impl Transport for Alone {
    async fn call(&self, to: MemberId, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable(
            to,
            "this group has one member".into(),
        ))
    }
}
