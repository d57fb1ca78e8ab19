//! The replicated store: openraft behind a narrow adapter, with a group of one as the ordinary case.
//!
//! # Why this shape
//! * No type of openraft is in the public interface, on disk or on the wire, so that it can be replaced (RFD 0001).
//! * Every member applies the same commands to the same engine (`store-mem`) and serves reads and watches from it. A
//!   client waits at the member that it asked until its own command is applied *there*, so it reads its writes.
//! * Commands are batched into entries while the log is busy: many transactions share one append and one sync.
//!
//! # What must stay true
//! * A write is acknowledged only after its entry is synced on a quorum and applied at the member that answers.
//! * A command that may have been appended is never proposed again.
//! * After a failed write to the log a member acknowledges nothing more: [`Service::run`] ends with an error.
//!
//! ```no_run
//! # async fn example() -> Result<(), store_raft::RunError> {
//! let (store, service) = store_raft::open(
//!     store_raft::Options::single("/var/lib/marina/store"),
//!     base::Clock::system(),
//!     std::sync::Arc::new(store_raft::Alone),
//! )
//! .await?;
//! let shutdown = base::Shutdown::new();
//! tokio::spawn(service.run(shutdown.child()));
//! let store: std::sync::Arc<dyn store_api::Store> = std::sync::Arc::new(store);
//! # Ok(())
//! # }
//! ```

pub mod disk;
mod log;
mod machine;
mod member;
mod network;
mod propose;
mod service;
mod store;
pub mod tls;
mod transport;
mod types;
mod wire;

pub use service::{Options, RunError, Service, Timing, open, open_on};
pub use store::RaftStore;
pub use transport::{Alone, Answer, MemberId, Transport, TransportError};
