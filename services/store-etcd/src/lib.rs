//! Any etcd v3 endpoint as a store: an operator's own etcd, or another Marina's etcd door.
//!
//! The protocol's messages, clients and servers ([`proto`]) live here too, because the door speaks the same ones.
//!
//! # What such a store cannot do
//! * Clusters that share one etcd by prefixes ([`Layout::Prefix`]) share its revisions and its compaction.
//! * There are no quotas, and a removed cluster is not remembered.
//! * [`Position::compacted`](store_api::Position) is not told by etcd and given as 0.

mod convert;
mod layout;
#[rustfmt::skip]
pub mod proto;
mod store;
mod watch;

pub use layout::Layout;
pub use store::EtcdStore;
