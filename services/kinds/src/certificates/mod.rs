//! Kinds of the group `certificates.k8s.io`.

pub(crate) mod pod_request;
pub(crate) mod signing_request;
pub(crate) mod trust_bundle;
