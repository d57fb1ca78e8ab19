//! The kubelet: runs the pods of one node through a container runtime.
//!
//! [`Options`] and [`Deps`] go into [`Service::build`]; [`Service::run`] registers the node, takes pods from the API server
//! (and from manifests), and keeps them as they should be. Each pod has one [`worker`], which observes the runtime,
//! decides by the pure [`plan`], acts, and reports by the pure [`status`]. The runtime's events wake workers, so nothing
//! polls. Labels on the runtime's objects are the only record: a kubelet may be restarted, and pods do not notice.

pub mod admission;
pub mod backoff;
pub mod cgroups;
pub mod config;
pub mod context;
pub mod dns;
pub mod downward;
pub mod engine;
pub mod env;
pub mod events;
pub mod expand;
pub mod housekeeping;
pub mod images;
pub mod k8s;
pub mod logs;
pub mod manager;
pub mod manifests;
pub mod metrics;
pub mod names;
pub mod node;
pub mod objects;
pub mod observed;
pub mod options;
pub mod plan;
pub mod pods;
pub mod probes;
pub mod quantity;
pub mod reflect;
pub mod resources;
pub mod runtime_events;
pub mod server;
mod service;
pub mod status;
pub mod trace;
pub mod volumes;
pub mod worker;

pub use options::Options;
pub use service::{BuildError, Deps, Handle, Service};
