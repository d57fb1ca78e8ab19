//! Who asks, and whether they may: authentication and authorization for every cluster of the process.
//!
//! Identity is rebuilt at each hop from the connection and never read from a header that a client can set; the
//! cluster is a typed value that comes from the TLS server name, the address or the tunnel's certificate.

pub mod attributes;
pub mod directory;
pub mod user;

pub use attributes::{Attributes, Decision};
pub use directory::{Cluster, Directory};
pub use user::{AuthSource, User};
