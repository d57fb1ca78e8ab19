//! Where a pod may run and where it had better run: filters and scores, pure.
//!
//! Used by the scheduler, the DaemonSet controller, the kubelet's admission and the autoscaler, so that they never
//! disagree. Objects are reduced once to [`Pod`] and [`Node`], which hold only what decisions need; a [`Snapshot`] keeps
//! the nodes with what is already placed on them and changes in place. Plugins are one file each.
//!
//! Source of behaviour: Kubernetes' scheduling framework and its default plugins (weights included). What is the same
//! for users: which node is feasible, the reasons why not, the shape of the scores.

pub mod affinity;
pub mod budget;
pub mod framework;
pub mod node;
pub mod plugins;
pub mod pod;
pub mod preemption;
pub mod resources;
pub mod snapshot;
pub mod taints;

pub use budget::Budget;
pub use framework::{Framework, Outcome, Reason, Unschedulable};
pub use node::Node;
pub use pod::{Pod, PodKey};
pub use preemption::Preemption;
pub use resources::Resources;
pub use snapshot::Snapshot;
