//! The typed Kubernetes objects a kubelet handles, under short names.
//!
//! The types are those that the crate `api` decodes.

pub use ::api::k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
pub use ::api::k8s_openapi::api::core::v1::*;
pub use ::api::k8s_openapi::api::node::v1::RuntimeClass;
pub use ::api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
pub use ::api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    MicroTime, ObjectMeta, OwnerReference, Time,
};
pub use ::api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A list of resource amounts by name, as `requests`, `limits`, `capacity` are written.
pub type ResourceList = std::collections::BTreeMap<String, Quantity>;

/// The namespace of an object; objects that a kubelet sees have one unless they are cluster-scoped.
pub fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or("default")
}

/// The name of an object, empty if it has none.
pub fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// The UID of an object, empty if it has none.
pub fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}
