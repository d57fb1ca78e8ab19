//! What several plugins must know of a pod.

use super::{Attempt, Operation};
use crate::kind::Kind;
use machinery::{Map, Value};

/// Marks the API's copy of a pod that a kubelet took from a file.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whether this creates a pod.
pub(super) fn is_create(operation: Operation, kind: &Kind, subresource: &str) -> bool {
    operation == Operation::Create && subresource.is_empty() && kind.is("", "pods")
}

/// Whether the object is a mirror pod.
pub(super) fn is_mirror(pod: &Value) -> bool {
    !pod.at(&["metadata", "annotations", MIRROR]).is_null()
}

/// `spec`, to be changed.
pub(super) fn spec_mut<'a>(attempt: &'a mut Attempt<'_>) -> &'a mut Map {
    attempt.object.at_mut(&["spec"])
}

/// Containers of all kinds.
pub(super) fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| spec.list_at(&[list]))
}

/// The first API object that a pod's spec names, as a plural, if there is one.
pub(super) fn referenced_object(spec: &Value) -> Option<&'static str> {
    let text = |v: &Value| v.as_str().is_some_and(|s| !s.is_empty());
    if text(&spec["serviceAccountName"]) {
        return Some("serviceaccounts");
    }
    if !spec.list_at(&["imagePullSecrets"]).is_empty() {
        return Some("secrets");
    }
    if !spec.list_at(&["resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    for container in containers(spec) {
        let from = container.list_at(&["envFrom"]).iter();
        let values = container.list_at(&["env"]).iter().map(|e| &e["valueFrom"]);
        for source in from.chain(values) {
            if !source["secretRef"].is_null() || !source["secretKeyRef"].is_null() {
                return Some("secrets");
            }
            if !source["configMapRef"].is_null() || !source["configMapKeyRef"].is_null() {
                return Some("configmaps");
            }
        }
    }
    for volume in spec.list_at(&["volumes"]) {
        for source in volume.list_at(&["projected", "sources"]) {
            for (field, plural) in [
                ("serviceAccountToken", "serviceaccounts"),
                ("secret", "secrets"),
                ("configMap", "configmaps"),
                ("clusterTrustBundle", "clustertrustbundles"),
                ("podCertificate", "podcertificates"),
            ] {
                if !source[field].is_null() {
                    return Some(plural);
                }
            }
        }
        for (field, plural) in [
            ("secret", "secrets"),
            ("configMap", "configmaps"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("ephemeral", "persistentvolumeclaims"),
            ("azureFile", "secrets"),
        ] {
            if !volume[field].is_null() {
                return Some(plural);
            }
        }
        let sources = volume.as_map().into_iter().flat_map(Map::iter).map(|(_, v)| v);
        let mut secrets = sources.map(|s| [&s["secretRef"], &s["nodePublishSecretRef"]]);
        if secrets.any(|refs| refs.iter().any(|r| !r.is_null())) {
            return Some("secrets");
        }
        if !volume["glusterfs"].is_null() {
            return Some("endpoints");
        }
    }
    None
}
