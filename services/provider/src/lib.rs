//! The managed service: projects, clusters and node pools as objects, reconcilers that make them true, and the REST
//! API v1 as a facade over them.
//!
//! ```text
//!  CLI, console, Terraform ──REST──▶ rest ──intent, in one transaction──▶ records ──▶ store (management cluster)
//!                                                                            ▲
//!        cloud (machines) ◀── flows ── level-triggered, woken by rest ───────┘
//!        API server's connections ──▶ directory (which cluster is this, under which keys)
//! ```
//!
//! # What must stay true
//! * A handler writes an intent and answers; it never calls a cloud.
//! * A cloud is called only after the intent and its idempotency token are committed, and deletion goes on until the
//!   cloud says *not found*. A crash at any point is mended by the next pass.
//! * The provider reaches into a cluster only through [`ClusterAccess`], as any client of its API server.

pub mod access;
pub mod api_keys;
pub mod directory;
pub mod flows;
pub mod records;
pub mod rest;
mod service;

pub use access::{AccessError, ClusterAccess, ImageStore, NewNode, NodeUserData};
pub use directory::ClusterDirectory;
pub use service::{BuildError, Clouds, Deps, Handle, Options, Service};
