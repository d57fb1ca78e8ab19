//! The list of kinds with rules of their own.

use crate::{Plain, Rules};
use crate::{
    admission, apps, autoscaling, batch, certificates, coordination, core, discovery, extension,
    flow_control, networking,
};
use crate::{node, policy, rbac, resource, scheduling, storage, storage_migration};

/// The rules of a kind; [`Plain`] for one without rules of its own.
pub fn rules(group: &str, kind: &str) -> &'static dyn Rules {
    match (group, kind) {
        ("", "ComponentStatus") => &core::component_status::ComponentStatus,
        ("", "ConfigMap") => &core::config_map::ConfigMap,
        ("", "Endpoints") => &core::endpoints::Endpoints,
        ("" | "events.k8s.io", "Event") => &core::event::Event,
        ("", "LimitRange") => &core::limit_range::LimitRange,
        ("", "Namespace") => &core::namespace::Namespace,
        ("", "Node") => &core::node::Node,
        ("", "PersistentVolume") => &core::persistent_volume::PersistentVolume,
        ("", "PersistentVolumeClaim") => &core::persistent_volume_claim::PersistentVolumeClaim,
        ("", "Pod") => &core::pod::Pod,
        ("", "PodTemplate") => &core::pod_template::PodTemplate,
        ("", "ReplicationController") => &core::replication_controller::ReplicationController,
        ("", "ResourceQuota") => &core::resource_quota::ResourceQuota,
        ("", "Secret") => &core::secret::Secret,
        ("", "Service") => &core::service::Service,
        ("", "ServiceAccount") => &core::service_account::ServiceAccount,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => {
            &admission::mutating_policy::MutatingPolicy
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => {
            &admission::policy_binding::PolicyBinding
        }
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => &admission::webhooks::MUTATING,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            &admission::validating_policy::ValidatingPolicy
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            &admission::policy_binding::PolicyBinding
        }
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => {
            &admission::webhooks::VALIDATING
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &extension::definition::Definition,
        ("apiregistration.k8s.io", "APIService") => &extension::api_service::ApiService,
        ("apps", "ControllerRevision") => &apps::controller_revision::ControllerRevision,
        ("apps", "DaemonSet") => &apps::daemon_set::DaemonSet,
        ("apps", "Deployment") => &apps::deployment::Deployment,
        ("apps", "ReplicaSet") => &apps::replica_set::ReplicaSet,
        ("apps", "StatefulSet") => &apps::stateful_set::StatefulSet,
        ("autoscaling", "HorizontalPodAutoscaler") => &autoscaling::horizontal_pod_autoscaler::Autoscaler,
        ("autoscaling", "Scale") => &autoscaling::scale::ScaleKind,
        ("batch", "CronJob") => &batch::cron_job::CronJob,
        ("batch", "Job") => &batch::job::Job,
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            &certificates::signing_request::SigningRequest
        }
        ("certificates.k8s.io", "ClusterTrustBundle") => &certificates::trust_bundle::TrustBundle,
        ("certificates.k8s.io", "PodCertificateRequest") => &certificates::pod_request::PodRequest,
        ("coordination.k8s.io", "Lease") => &coordination::lease::Lease,
        ("coordination.k8s.io", "LeaseCandidate") => &coordination::lease_candidate::LeaseCandidate,
        ("discovery.k8s.io", "EndpointSlice") => &discovery::endpoint_slice::EndpointSlice,
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &flow_control::flow_schema::FlowSchema,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            &flow_control::priority_level::PriorityLevel
        }
        ("internal.apiserver.k8s.io", "StorageVersion") => {
            &storage_migration::storage_version::StorageVersion
        }
        ("networking.k8s.io", "IPAddress") => &networking::ip_address::IpAddress,
        ("networking.k8s.io", "Ingress") => &networking::ingress::Ingress,
        ("networking.k8s.io", "IngressClass") => &networking::ingress_class::IngressClass,
        ("networking.k8s.io", "NetworkPolicy") => &networking::network_policy::NetworkPolicy,
        ("networking.k8s.io", "ServiceCIDR") => &networking::service_cidr::ServiceCidr,
        ("node.k8s.io", "RuntimeClass") => &node::runtime_class::RuntimeClass,
        ("policy", "PodDisruptionBudget") => &policy::pod_disruption_budget::PodDisruptionBudget,
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => &rbac::role::Role,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding") => &rbac::binding::Binding,
        ("resource.k8s.io", "DeviceClass") => &resource::device_class::DeviceClass,
        ("resource.k8s.io", "DeviceTaintRule") => &resource::taint_rule::TaintRule,
        ("resource.k8s.io", "ResourceClaim") => &resource::claim::Claim,
        ("resource.k8s.io", "ResourceClaimTemplate") => &resource::claim_template::ClaimTemplate,
        ("resource.k8s.io", "ResourcePoolStatusRequest") => &resource::pool_status::PoolStatus,
        ("resource.k8s.io", "ResourceSlice") => &resource::slice::Slice,
        ("scheduling.k8s.io", "PodGroup") => &scheduling::pod_group::PodGroup,
        ("scheduling.k8s.io", "PriorityClass") => &scheduling::priority_class::PriorityClass,
        ("storage.k8s.io", "CSIDriver") => &storage::csi_driver::CsiDriver,
        ("storage.k8s.io", "CSINode") => &storage::csi_node::CsiNode,
        ("storage.k8s.io", "CSIStorageCapacity") => &storage::csi_storage_capacity::CsiStorageCapacity,
        ("storage.k8s.io", "StorageClass") => &storage::storage_class::StorageClass,
        ("storage.k8s.io", "VolumeAttachment") => &storage::volume_attachment::VolumeAttachment,
        ("storage.k8s.io", "VolumeAttributesClass") => {
            &storage::volume_attributes_class::VolumeAttributesClass
        }
        ("storagemigration.k8s.io", "StorageVersionMigration") => &storage_migration::migration::Migration,
        _ => &Plain,
    }
}
