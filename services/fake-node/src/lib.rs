//! Simulated nodes: Node objects that are Ready and pods that run without containers.
//!
//! For `--cloud sim`, tests and benchmarks: thousands of nodes in one process. A fake node speaks to the API server as a
//! kubelet does (node, lease, pod status, the final deletion), as the user its certificate would name, so that everything above
//! it is real.
//!
//! One pair of watches for all nodes of a cluster, not one for each: that is what makes thousands cheap.

mod addresses;
mod node;
mod pod;
mod service;

pub use node::NodeSpec;
pub use service::{Deps, Fleet, Options};
