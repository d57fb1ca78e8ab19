//! `PodSpec`, which eight kinds share.

use machinery::{Map, Value};

use super::{container, resources, volume};
use crate::edit::{each, fill, fill_zero, lacks, text, within};
use crate::{FieldErrors, Path, metadata};

/// Defaults of a pod's spec, in pods and in templates.
pub(crate) fn default(spec: &mut Map) {
    fill_zero(spec, "dnsPolicy", "ClusterFirst");
    fill_zero(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", Map::new());
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill_zero(spec, "schedulerName", "default-scheduler");
    each(spec, "volumes", volume::default);
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, key, container::default);
    }
    within(spec, "overhead", resources::default_list);
    resources::default_requirements(spec, "resources");
    sync_service_account(spec);
}

/// `serviceAccount` is the old name of `serviceAccountName`: both are always the same, and the new name wins.
pub(crate) fn sync_service_account(spec: &mut Map) {
    let name = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount"),
        name => name,
    }
    .to_owned();
    if name.is_empty() {
        spec.remove("serviceAccountName");
        spec.remove("serviceAccount");
    } else {
        spec.insert("serviceAccountName", name.clone());
        spec.insert("serviceAccount", name);
    }
}

/// Defaults that only pods have, not templates.
pub(crate) fn default_of_pod(spec: &mut Map) {
    for key in ["containers", "initContainers"] {
        each(spec, key, resources::requests_from_limits);
    }
    fill(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(|v| v.as_bool()) == Some(true) {
        for key in ["containers", "initContainers"] {
            each(spec, key, |container| {
                each(container, "ports", |port| {
                    if lacks(port, "hostPort")
                        && let Some(n) = port.get("containerPort").cloned()
                    {
                        port.insert("hostPort", n);
                    }
                });
            });
        }
    }
}

/// What is wrong with a pod's spec, in pods and in templates.
pub(crate) fn validate(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if spec["terminationGracePeriodSeconds"].is_null() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::validate_all(spec.list_at(&["volumes"]), &path.child("volumes"), errors);
    container::validate_all(spec, &volumes, path, errors);
    let at = path.child("restartPolicy");
    errors.enumeration(&at, &spec["restartPolicy"], &["Always", "OnFailure", "Never"]);
    let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.enumeration(&path.child("dnsPolicy"), &spec["dnsPolicy"], &known);
    metadata::validate_labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
}
