//! Every limit of a request in one place. Over a limit means a clear answer for that one client.

use std::time::Duration;

/// A request's body in bytes (upstream: 3 MiB).
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// A request's headers in bytes.
pub const MAX_HEADERS: usize = 64 * 1024;
/// Streams of one HTTP/2 connection at a time (upstream: 100 for anonymous, 250 else; client-go opens one per watch).
pub const MAX_STREAMS: u32 = 1000;
/// How long a TLS handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take (RFC 9110 leaves it open; against slow senders).
pub const HEAD: Duration = Duration::from_secs(30);
/// How long a request that is not long-running may take.
pub const REQUEST: Duration = Duration::from_secs(60);
/// How often a lost race is repeated inside one request.
pub const RETRIES: usize = 12;
/// Answers smaller than this are not compressed (upstream: 128 KiB).
pub const MIN_GZIP: usize = 128 * 1024;
/// Records read from the store at a time while a filtered list fills its page.
pub const PAGE: usize = 1000;
/// Requests of one cluster in flight at a time, reads and writes together (upstream: 400 + 200).
pub const IN_FLIGHT: usize = 600;
/// Watches and other long-running requests of one cluster at a time.
pub const LONG_RUNNING: usize = 20_000;
