//! Pod.

mod qos;
mod row;
mod validate;

use machinery::{Map, Value, value};

use crate::edit::{text, within};
use crate::table::{AGE, NAME, text as string, wide};
use crate::types::{pod_spec, resources};
use crate::{Column, Cx, FieldErrors, Rules, strategy};

/// Rules of pods.
pub(crate) struct Pod;

impl Rules for Pod {
    fn default(&self, pod: &mut Value, _cx: &Cx<'_>) {
        let spec = pod.at_mut(&["spec"]);
        pod_spec::default_of_pod(spec);
        pod_spec::default(spec);
        if let Some(Value::Map(status)) = pod.get_mut("status") {
            default_status(status);
        }
    }

    fn prepare_create(&self, pod: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(pod, true, cx);
        pod_spec::sync_service_account(pod.at_mut(&["spec"]));
        let class = qos::class(pod);
        let status = pod.at_mut(&["status"]);
        status.insert("phase", "Pending");
        status.insert("qosClass", class);
        if !pod.list_at(&["spec", "schedulingGates"]).is_empty() {
            let condition = value!({
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": (crate::now(cx)),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"
            });
            pod.at_mut(&["status"]).insert("conditions", vec![condition]);
        }
        apply_label_keys(pod);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        match cx.subresource {
            "" => strategy::keep(new, old, "status"),
            "status" => {
                strategy::keep(new, old, "spec");
                let owners = old.at(&["metadata", "ownerReferences"]).clone();
                strategy::put(new.at_mut(&["metadata"]), "ownerReferences", owners);
                let status = new.at_mut(&["status"]);
                if text(status, "qosClass").is_empty() {
                    strategy::put(status, "qosClass", old.at(&["status", "qosClass"]).clone());
                }
                default_status(status);
                keep_observed_generations(status, &old["status"]);
            }
            "ephemeralcontainers" => {
                let own = new.at(&["spec", "ephemeralContainers"]).clone();
                strategy::keep_all_but(new, old, &["metadata"]);
                strategy::put(new.at_mut(&["spec"]), "ephemeralContainers", own);
            }
            "resize" => {
                let own = new["spec"].clone();
                strategy::keep_all_but(new, old, &["metadata"]);
                resize(new.at_mut(&["spec"]), &own);
            }
            _ => strategy::keep_all_but(new, old, &["metadata", "status"]),
        }
        if cx.subresource != "status" {
            pod_spec::sync_service_account(new.at_mut(&["spec"]));
        }
        strategy::count_generation(new, old);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, pod: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        validate::pod(pod, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        match cx.subresource {
            "" => validate::update(new, old, errors),
            "status" => validate::status(new, old, errors),
            "ephemeralcontainers" => validate::ephemeral(new, old, errors),
            "resize" => validate::resize(new, old, errors),
            _ => {}
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                string("Ready"),
                string("Status"),
                string("Restarts"),
                AGE,
                wide("IP"),
                wide("Node"),
                wide("Nominated Node"),
                wide("Readiness Gates"),
            ]
        }
    }

    fn row(&self, pod: &Value, cx: &Cx<'_>) -> Vec<Value> {
        row::cells(pod, cx)
    }

    fn finished(&self, pod: &Value) -> Option<(&'static str, &'static str)> {
        match pod.str_at(&["status", "phase"])? {
            "Succeeded" => Some(("Succeeded", "The pod has completed successfully.")),
            "Failed" => Some(("Failed", "The pod failed.")),
            _ => None,
        }
    }

    fn selectable_fields(&self, pod: &Value) -> Vec<(&'static str, String)> {
        let text = |path: &[&str]| pod.str_at(path).unwrap_or_default().to_owned();
        let host_network = pod.at(&["spec", "hostNetwork"]).as_bool().unwrap_or(false);
        let ip = match pod.list_at(&["status", "podIPs"]).first() {
            Some(first) => first["ip"].as_str().unwrap_or_default().to_owned(),
            None => text(&["status", "podIP"]),
        };
        vec![
            ("spec.nodeName", text(&["spec", "nodeName"])),
            ("spec.restartPolicy", text(&["spec", "restartPolicy"])),
            ("spec.schedulerName", text(&["spec", "schedulerName"])),
            ("spec.serviceAccountName", text(&["spec", "serviceAccountName"])),
            ("spec.hostNetwork", host_network.to_string()),
            ("status.phase", text(&["status", "phase"])),
            ("status.podIP", ip),
            ("status.nominatedNodeName", text(&["status", "nominatedNodeName"])),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }
}

/// `podIP` is the first of `podIPs`; whichever is given makes the other.
fn default_status(status: &mut Map) {
    let first = status
        .get("podIPs")
        .and_then(Value::as_list)
        .and_then(|l| l.first());
    let first = first
        .and_then(|ip| ip["ip"].as_str())
        .unwrap_or_default()
        .to_owned();
    let single = text(status, "podIP").to_owned();
    if single.is_empty() && !first.is_empty() {
        status.insert("podIP", first);
    } else if !single.is_empty() && single != first {
        status.insert("podIPs", vec![value!({"ip": (single)})]);
    }
    for key in [
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
    ] {
        crate::edit::each(status, key, |container| {
            within(container, "allocatedResources", resources::default_list);
            resources::default_requirements(container, "resources");
        });
    }
}

/// Whoever does not know of observed generations does not erase them.
fn keep_observed_generations(status: &mut Map, old: &Value) {
    let zero = |v: Option<&Value>| v.is_none_or(Value::is_zero);
    if zero(status.get("observedGeneration")) {
        strategy::put(status, "observedGeneration", old["observedGeneration"].clone());
    }
    let before = old.list_at(&["conditions"]);
    crate::edit::each(status, "conditions", |condition| {
        if zero(condition.get("observedGeneration")) {
            let same = before.iter().find(|c| c.get("type") == condition.get("type"));
            let n = same.map(|c| c["observedGeneration"].clone()).unwrap_or_default();
            strategy::put(condition, "observedGeneration", n);
        }
    });
}

/// Takes over what a resize may change: containers' resources and resize policies, and the pod's own resources.
fn resize(spec: &mut Map, wished: &Value) {
    for key in ["containers", "initContainers"] {
        crate::edit::each(spec, key, |container| {
            let same = wished
                .list_at(&[key])
                .iter()
                .find(|c| c.get("name") == container.get("name"));
            if let Some(same) = same {
                for field in ["resources", "resizePolicy"] {
                    strategy::put(container, field, same[field].clone());
                }
            }
        });
    }
    if !wished["resources"].is_null() {
        spec.insert("resources", wished["resources"].clone());
    }
}

/// `matchLabelKeys` and `mismatchLabelKeys` become expressions of the label selector beside them.
fn apply_label_keys(pod: &mut Value) {
    let labels = pod.at(&["metadata", "labels"]).clone();
    let spec = pod.at_mut(&["spec"]);
    within(spec, "affinity", |affinity| {
        for kind in ["podAffinity", "podAntiAffinity"] {
            within(affinity, kind, |terms| {
                crate::edit::each(terms, "requiredDuringSchedulingIgnoredDuringExecution", |term| {
                    add_expressions(term, "matchLabelKeys", "In", &labels);
                    add_expressions(term, "mismatchLabelKeys", "NotIn", &labels);
                });
                crate::edit::each(
                    terms,
                    "preferredDuringSchedulingIgnoredDuringExecution",
                    |weighted| {
                        within(weighted, "podAffinityTerm", |term| {
                            add_expressions(term, "matchLabelKeys", "In", &labels);
                            add_expressions(term, "mismatchLabelKeys", "NotIn", &labels);
                        });
                    },
                );
            });
        }
    });
    crate::edit::each(spec, "topologySpreadConstraints", |constraint| {
        add_expressions(constraint, "matchLabelKeys", "In", &labels);
    });
}

fn add_expressions(term: &mut Map, keys: &str, operator: &'static str, labels: &Value) {
    let keys: Vec<String> = term
        .get(keys)
        .and_then(Value::as_list)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    within(term, "labelSelector", |selector| {
        for key in keys {
            let Some(have) = labels[&*key].as_str() else {
                continue;
            };
            let expression = value!({"key": (key), "operator": operator, "values": [(have.to_owned())]});
            if let Value::List(list) = selector.entry("matchExpressions", || Value::List(Vec::new())) {
                list.push(expression);
            }
        }
    });
}
