//! A kubelet on a real containerd, against the real API server in process.
//!
//! Everything happens in namespaces of the test's own (`machine`): mounts, network, processes and control groups end with
//! it, and the host is left as it was. Nothing is downloaded: the images are those that Marina brings along.

mod machine;
mod node;
mod program;
mod suite;

pub use machine::Machine;
pub use node::{Node, container, is_ready, phase_of};
pub use program::run;
pub use suite::Case;
