//! The etcd door: etcd's v3 gRPC protocol over mTLS, on any store.
//!
//! A connection sees exactly one cluster, named by its client certificate ([`identity`]); nothing in a request can
//! name another. So `etcdctl`, etcd's own tools and a real kube-apiserver run on Marina's store.
//!
//! # What it does not do
//! Transactions inside transactions, comparisons of ranges, `ignore_value` and `ignore_lease` inside transactions,
//! authentication by password, changes of members, hashes and snapshots: each answers UNIMPLEMENTED or
//! FAILED_PRECONDITION. Watches are never fragmented. Renewing leases and everything else goes through the store's
//! own rules and quotas.

mod admin;
mod convert;
pub mod identity;
mod kv;
mod lease;
mod service;
mod watch;

pub use service::{Io, Options, RunError, Service, Tenant, serve};
