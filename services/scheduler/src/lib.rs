//! The scheduler: gives every pod that has no node one, for all clusters of the process.
//!
//! ```text
//!  informers (pods, nodes) ──▶ world: one state for each cluster that has pods or nodes
//!                                │        snapshot + queue (active, back-off, parked)
//!  one loop ◀── wakes ───────────┘
//!     │  takes a pod, decides (crate `scheduling`), assumes the placement in the snapshot
//!     └──▶ binding tasks, bounded, write pods/binding; a failure takes the assumption back
//! ```
//!
//! # What must stay true
//! * Deciding never waits: it sees the snapshot with everything that was assumed.
//! * A pod is in exactly one place: placed, active, backing off, parked, or gated.
//! * A parked pod is looked at again only when something changed that the plugins which refused it said may help, or
//!   after five minutes.
//! * A cluster without pods and nodes has no state here; an idle one has no timer.
//!
//! Rejected: a scheduler for each cluster (a thousand idle loops), and polling parked pods.

mod bind;
mod cluster;
mod metrics;
mod queue;
mod service;
mod world;

pub use metrics::Metrics;
pub use service::{Deps, Options, run};
