//! Rules of kinds and types: defaults, validation, strategies, printer columns.
//!
//! One file for each kind that has rules of its own, and one for each type that several kinds share (PodSpec is
//! shared by eight). Rules are pure: they see the tree, the old tree and [`Cx`], and do no I/O. A kind without a file gets
//! [`Plain`]: metadata rules, status reset and the columns NAME and AGE.

mod rules;

pub use rules::{Column, Cx, FieldError, FieldErrors, Path, Plain, Rules};
