//! The store on disk: Raft's log and the state of the clusters in one RocksDB, in our own encoding.
//!
//! This is the only crate that links RocksDB. It knows nothing of a Raft library: votes, log ids and members are its
//! own small types ([`format`]).

mod db;
pub mod format;

pub use db::{Done, LogState, Options, RocksDisk};
