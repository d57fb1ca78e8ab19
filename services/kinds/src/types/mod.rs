//! Types that several kinds share; one file for each.

pub(crate) mod claim_spec;
pub(crate) mod container;
pub(crate) mod env;
pub(crate) mod label_selector;
pub(crate) mod pod_spec;
pub(crate) mod pod_template;
pub(crate) mod probe;
pub(crate) mod resources;
pub(crate) mod restart;
pub(crate) mod scheduling;
pub(crate) mod security_context;
pub(crate) mod volume;
