//! Rules of kinds and types: defaults, validation, strategies, printer columns.
//!
//! One file for each kind that has rules of its own, and one for each type that several kinds share (PodSpec is
//! shared by eight). Rules are pure: they see the tree, the old tree and [`Cx`], and do no I/O. A kind without a file gets
//! [`Plain`]: metadata rules, status reset and the columns NAME and AGE.
//!
//! An object's life in the API server: [`Rules::default`], mutating admission, [`Rules::prepare_create`] or
//! [`Rules::prepare_update`], then [`check_create`] or [`check_update`], then validating admission. [`rules`] finds the
//! rules of a kind.

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod coordination;
mod core;
mod cron;
mod discovery;
mod edit;
mod extension;
mod field_error;
mod flow_control;
mod ip;
mod metadata;
mod networking;
mod node;
mod path;
mod policy;
mod rbac;
mod registry;
mod resource;
mod rules;
mod scheduling;
mod storage;
mod storage_migration;
mod strategy;
mod table;
mod types;

pub use field_error::{FieldError, FieldErrors};
pub use metadata::{ANNOTATIONS_MAX, Names};
pub use path::Path;
pub use registry::rules;
pub use rules::{Column, Cx, Plain, Rules, Scale, check_create, check_update};
pub use table::human_duration;

pub(crate) use strategy::{equal, now};
