//! The typed kinds that controllers use, by their short names.

pub(crate) use api::ObjectMeta;
pub(crate) use api::k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetStatus, Deployment, DeploymentCondition, DeploymentStatus,
    ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus, StatefulSet, StatefulSetStatus,
};
pub(crate) use api::k8s_openapi::api::batch::v1::{
    CronJob, CronJobStatus, Job, JobCondition, JobSpec, JobStatus,
};
pub(crate) use api::k8s_openapi::api::coordination::v1::Lease;
pub(crate) use api::k8s_openapi::api::core::v1::{
    ConfigMap, EndpointAddress, EndpointPort as EndpointsPort, EndpointSubset, Endpoints, Namespace,
    NamespaceCondition, Node, NodeCondition, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    ObjectReference, PersistentVolumeClaim, Pod, PodCondition, PodSpec, PodTemplateSpec,
    ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus, Service,
    ServiceAccount, Taint, Toleration, Volume,
};
pub(crate) use api::k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice,
};
pub(crate) use api::k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
pub(crate) use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference, Time};
pub(crate) use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
