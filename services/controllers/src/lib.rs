//! The controllers of Kubernetes: one folder each, one list of all ([`all`]).
//!
//! Each folder has `mod.rs` (the story, and what is written) and, where there is something to decide, `plan.rs`: pure
//! functions from what was observed to what is to be done. They run for all clusters of a process by [`run`], or for one
//! foreign cluster with other sources of events; they cannot tell the difference.

mod common;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoints;
mod endpointslice;
mod garbage_collector;
mod job;
mod kinds;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod pod_gc;
mod replicaset;
mod root_ca;
mod service;
mod serviceaccount;
mod statefulset;
mod taint_eviction;
#[cfg(test)]
mod testing;
mod ttl_after_finished;

pub use node_ipam::{PodRange, PodRanges};
pub use root_ca::CaOf;
pub use service::{Deps, Options, all, run};
