//! The state machine of the store, in memory: what every member of a Raft group applies, and a store of its own.
//!
//! [`Engine`] applies [`Command`]s and serves reads and watches; [`MemStore`] is the engine behind the
//! [`store_api::Store`] trait, without a disk. An idle cluster owns its bytes and nothing else: no task, timer or
//! channel. What a command changed is also told as [`Change`]s, which is all that a disk or a snapshot has to keep.

mod across;
mod command;
mod engine;
mod hub;
mod intern;
mod lessor;
mod state;
mod store;

pub use command::{Action, Change, Command, Meta, Outcome, Reply, Row};
pub use engine::{Engine, EngineOptions, Loader};
pub use lessor::Lessor;
pub use state::Limits;
pub use store::MemStore;
