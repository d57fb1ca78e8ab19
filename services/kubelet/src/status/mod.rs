//! The status of a pod: computed from what the runtime shows, and written when it changed.

pub mod compute;
pub mod conditions;
pub mod containers;
pub mod patch;
pub mod writer;

pub use compute::{Inputs, compute};
pub use writer::StatusWriter;
