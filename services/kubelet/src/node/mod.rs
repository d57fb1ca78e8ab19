//! The node's own objects: its Node, its status, its Lease.

pub mod facts;
pub mod lease;
pub mod object;
pub mod sync;
