//! Container logs in CRI format: reading, following, rotating.

pub mod line;
pub mod read;
pub mod rotate;
