//! What a fake node does with a pod: pure.

use api::k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// The next step for a pod that is bound to a fake node.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Nothing to do.
    Rest,
    /// Write this status.
    Report(Value),
    /// Its containers have stopped: the last deletion.
    Remove,
}

/// Jobs' pods end by themselves: this annotation on a pod says after how many seconds its containers exit with 0.
pub(crate) const RUN_SECONDS: &str = "sim.marina.dev/run-seconds";

/// The node that a pod is bound to; empty if none.
pub(crate) fn node(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or_default()
}

/// The address that a pod has, if it is not its node's.
pub(crate) fn address(pod: &Pod) -> Option<Ipv4Addr> {
    let own = pod.spec.as_ref().and_then(|s| s.host_network) != Some(true);
    let ip = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref());
    ip.filter(|_| own && !is_finished(pod))?.parse().ok()
}

/// Whether its containers have ended for good, and with them its need of an address.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a pod is about to start and needs an address of its own.
pub(crate) fn wants_address(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none()
        && matches!(phase, None | Some("Pending"))
        && pod.spec.as_ref().and_then(|s| s.host_network) != Some(true)
}

/// Decides. `ip` is the address the pod gets if it has none.
pub(crate) fn decide(pod: &Pod, host: &str, ip: &str, now: &str) -> Step {
    let phase = pod
        .status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or("Pending");
    if pod.metadata.deletion_timestamp.is_some() {
        return Step::Remove;
    }
    match phase {
        "Pending" => Step::Report(running(pod, host, ip, now)),
        _ => Step::Rest,
    }
}

/// After how long the pod's containers end, if they do.
pub(crate) fn runs_for(pod: &Pod) -> Option<std::time::Duration> {
    let seconds = pod
        .metadata
        .annotations
        .as_ref()?
        .get(RUN_SECONDS)?
        .parse()
        .ok()?;
    Some(std::time::Duration::from_secs(seconds))
}

fn condition(kind: &str, status: &str, reason: Option<&str>, now: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "lastProbeTime": null, "lastTransitionTime": now })
}

fn running(pod: &Pod, host: &str, ip: &str, now: &str) -> Value {
    let statuses = |state: Value, ready: bool, names: Vec<(&String, String)>| -> Value {
        names
            .into_iter()
            .map(|(name, image)| {
                json!({ "name": name, "image": image, "imageID": format!("sim://{image}"), "restartCount": 0,
                    "containerID": format!("sim://{name}"), "ready": ready, "started": ready, "state": state })
            })
            .collect()
    };
    let spec = pod.spec.as_ref();
    let main = spec.iter().flat_map(|s| &s.containers);
    let main = main
        .map(|c| (&c.name, c.image.clone().unwrap_or_default()))
        .collect();
    let init = spec.iter().flat_map(|s| s.init_containers.iter().flatten());
    let init = init
        .map(|c| (&c.name, c.image.clone().unwrap_or_default()))
        .collect();
    json!({
        "phase": "Running", "hostIP": host, "hostIPs": [{ "ip": host }], "podIP": ip, "podIPs": [{ "ip": ip }],
        "startTime": now,
        "conditions": (["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
            .map(|kind| condition(kind, "True", None, now)).to_vec()),
        "containerStatuses": statuses(json!({ "running": { "startedAt": now } }), true, main),
        "initContainerStatuses": statuses(json!({ "terminated": { "exitCode": 0, "reason": "Completed",
            "startedAt": now, "finishedAt": now } }), true, init),
    })
}

/// The status of a pod whose containers have ended well.
pub(crate) fn succeeded(pod: &Pod, now: &str) -> Value {
    let statuses = pod
        .status
        .iter()
        .flat_map(|s| s.container_statuses.iter().flatten());
    let statuses: Vec<Value> = statuses
        .map(|c| {
            json!({ "name": c.name, "image": c.image, "imageID": c.image_id, "restartCount": 0, "ready": false,
                "started": false, "state": { "terminated": { "exitCode": 0, "reason": "Completed",
                    "startedAt": now, "finishedAt": now } } })
        })
        .collect();
    json!({
        "phase": "Succeeded",
        "conditions": [condition("Ready", "False", Some("PodCompleted"), now),
            condition("ContainersReady", "False", Some("PodCompleted"), now)],
        "containerStatuses": statuses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_bound_pod_runs_and_a_deleted_one_goes() {
        let bound = pod(json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "i"}]}}));
        let Step::Report(status) = decide(&bound, "10.0.0.1", "10.1.0.1", NOW) else {
            panic!("does not run")
        };
        assert_eq!(status["phase"], "Running");
        assert_eq!(status["containerStatuses"][0]["name"], "c");
        let mut leaving = bound.clone();
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!(NOW)).unwrap();
        assert_eq!(decide(&leaving, "", "", NOW), Step::Remove);
        let mut running = bound;
        running.status = serde_json::from_value(status).unwrap();
        assert_eq!(decide(&running, "", "", NOW), Step::Rest);
        assert_eq!(
            succeeded(&running, NOW)["containerStatuses"][0]["state"]["terminated"]["exitCode"],
            0
        );
    }
}
