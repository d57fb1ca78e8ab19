//! SPDY/3.1 as Kubernetes uses it: both ends open streams with headers, and each stream carries bytes both ways.
//!
//! There is no flow control: the Go library on the other end neither keeps nor grants windows. A reader that falls
//! behind holds up the whole connection, which TCP then tells the sender; what waits in memory is bounded by
//! [`Limits`]. (SPDY Protocol, draft 3.1.)

mod connection;
mod dictionary;
mod frame;
mod headers;
mod stream;

pub use connection::{Connection, Limits, Role, SpdyError};
pub use headers::Headers;
pub use stream::SpdyStream;
