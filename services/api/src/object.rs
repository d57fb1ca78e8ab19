//! Typed objects: the `k8s-openapi` types, behind one trait that decodes and encodes them.
//!
//! Only this crate calls serde on them, so that their trees are compiled once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Bytes that are not the object they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// A typed kind.
pub trait Object: Clone + std::fmt::Debug + Send + Sync + Sized + 'static {
    /// API group; empty for core.
    const GROUP: &'static str;
    /// API version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Plural, as in paths.
    const PLURAL: &'static str;
    /// Whether objects live in namespaces.
    const NAMESPACED: bool;

    /// Decodes JSON. `kind` and `apiVersion` may be missing (items of a list) but not wrong.
    ///
    /// # Errors
    /// If the bytes are no such object.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
    /// Encodes as JSON with `kind` and `apiVersion`.
    fn encode_json(&self) -> Vec<u8>;
    /// The metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

fn decode<K: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<K, DecodeError> {
    if bytes.starts_with(b"k8s\0") {
        return Err(DecodeError("protobuf is not supported here yet".into()));
    }
    serde_json::from_slice(bytes).map_err(|e| DecodeError(e.to_string()))
}

macro_rules! objects {
    ($($kind:ty, $plural:literal, $namespaced:literal;)*) => { $(
        impl Object for $kind {
            const GROUP: &'static str = <$kind as k8s_openapi::Resource>::GROUP;
            const VERSION: &'static str = <$kind as k8s_openapi::Resource>::VERSION;
            const KIND: &'static str = <$kind as k8s_openapi::Resource>::KIND;
            const PLURAL: &'static str = $plural;
            const NAMESPACED: bool = $namespaced;
            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                decode(bytes)
            }
            fn encode_json(&self) -> Vec<u8> {
                serde_json::to_vec(self).expect("typed objects are plain data with string keys")
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )* };
}

objects! {
    k8s_openapi::api::apps::v1::ControllerRevision, "controllerrevisions", true;
    k8s_openapi::api::apps::v1::DaemonSet, "daemonsets", true;
    k8s_openapi::api::apps::v1::Deployment, "deployments", true;
    k8s_openapi::api::apps::v1::ReplicaSet, "replicasets", true;
    k8s_openapi::api::apps::v1::StatefulSet, "statefulsets", true;
    k8s_openapi::api::batch::v1::CronJob, "cronjobs", true;
    k8s_openapi::api::batch::v1::Job, "jobs", true;
    k8s_openapi::api::certificates::v1::CertificateSigningRequest, "certificatesigningrequests", false;
    k8s_openapi::api::coordination::v1::Lease, "leases", true;
    k8s_openapi::api::core::v1::ConfigMap, "configmaps", true;
    k8s_openapi::api::core::v1::Endpoints, "endpoints", true;
    k8s_openapi::api::core::v1::Event, "events", true;
    k8s_openapi::api::core::v1::Namespace, "namespaces", false;
    k8s_openapi::api::core::v1::Node, "nodes", false;
    k8s_openapi::api::core::v1::PersistentVolume, "persistentvolumes", false;
    k8s_openapi::api::core::v1::PersistentVolumeClaim, "persistentvolumeclaims", true;
    k8s_openapi::api::core::v1::Pod, "pods", true;
    k8s_openapi::api::core::v1::ReplicationController, "replicationcontrollers", true;
    k8s_openapi::api::core::v1::Secret, "secrets", true;
    k8s_openapi::api::core::v1::Service, "services", true;
    k8s_openapi::api::core::v1::ServiceAccount, "serviceaccounts", true;
    k8s_openapi::api::discovery::v1::EndpointSlice, "endpointslices", true;
    k8s_openapi::api::policy::v1::PodDisruptionBudget, "poddisruptionbudgets", true;
    k8s_openapi::api::storage::v1::CSINode, "csinodes", false;
    k8s_openapi::api::storage::v1::StorageClass, "storageclasses", false;
}
