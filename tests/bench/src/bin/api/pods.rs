//! The pods that are created, and what is written about them.

use anyhow::{Context, Result};
use bench::{Call, JSON, PROTOBUF, STRATEGIC};
use http::Method;
use serde_json::{Value, json};

/// Stands for a pod's number; names are all of one length, so that an encoded pod can be changed in place.
const NUMBER: &str = "n#######";
/// Before the number.
const BEFORE: &str = "web-6d4cf56db6-n";

/// A pod's name.
pub(crate) fn name(n: u64) -> String {
    format!("web-6d4cf56db6-n{n:07}")
}

/// A pod as a Deployment's template would have it.
fn pod(namespace: &str) -> Value {
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 10});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("web-6d4cf56db6-{NUMBER}"),
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": "web",
                "app.kubernetes.io/part-of": "shop",
                "pod-template-hash": "6d4cf56db6",
            },
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9102",
                "checksum/config": "0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f",
            },
        },
        "spec": {
            "schedulerName": "bench",
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "web",
                "image": "registry.example.com/shop/web:1.27.3",
                "args": ["--listen=:8080", "--config=/etc/web/web.yaml"],
                "ports": [
                    {"name": "http", "containerPort": 8080},
                    {"name": "metrics", "containerPort": 9102},
                ],
                "env": [
                    {"name": "LOG_LEVEL", "value": "info"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "256Mi"},
                },
                "readinessProbe": probe("/ready"),
                "livenessProbe": probe("/live"),
                "volumeMounts": [{"name": "config", "mountPath": "/etc/web", "readOnly": true}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        },
    })
}

/// The creation of a pod.
pub(crate) fn new_pod(namespace: &'static str, n: u64) -> Call {
    let body = pod(namespace).to_string().replace(NUMBER, &format!("n{n:07}"));
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    Call::write(Method::POST, path, JSON, body)
}

/// The creation of pods in protobuf.
pub(crate) fn in_protobuf(namespace: &str) -> Result<impl Fn(u64) -> Call + Send + Sync + 'static> {
    let catalog = api::newest();
    let ty = catalog.type_of("v1", "Pod").context("no pods in the catalog")?;
    let json = pod(namespace).to_string();
    let decoded = machinery::codec::json::decode(json.as_bytes(), catalog, ty, Default::default())?;
    let template = machinery::codec::proto::encode(&decoded.value, catalog, ty, "v1", "Pod")?;
    let at = memchr::memmem::find(&template, NUMBER.as_bytes()).context("a pod without a name")?;
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    Ok(move |n: u64| {
        let mut pod = template.clone();
        pod[at..at + NUMBER.len()].copy_from_slice(format!("n{:07}", n % 10_000_000).as_bytes());
        Call::write(Method::POST, path.as_str(), PROTOBUF, pod)
    })
}

/// What a kubelet says once a pod runs. `salt` makes it differ from what was said before.
pub(crate) fn new_status(namespace: &str, n: u64, salt: u64) -> Call {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/status", name(n));
    let condition =
        |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let ip = format!("10.{}.{}.{}", salt >> 16 & 255, salt >> 8 & 255, salt & 255);
    let status = json!({"status": {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": "2026-01-02T03:04:00Z",
        "conditions": [condition("PodScheduled"), condition("Initialized"), condition("ContainersReady"), condition("Ready")],
        "containerStatuses": [{
            "name": "web", "ready": true, "started": true, "restartCount": 0,
            "image": "registry.example.com/shop/web:1.27.3",
            "imageID": "registry.example.com/shop/web@sha256:0263829989b6fd954f72baaf2fc64bc2e2f01d692d4de72986ea808f6e99813f",
            "containerID": format!("containerd://{n:064x}"),
            "state": {"running": {"startedAt": "2026-01-02T03:04:04Z"}},
        }],
    }});
    Call::write(Method::PATCH, path, STRATEGIC, status.to_string())
}

/// The number of the pod that is named first.
pub(crate) fn number_in(text: &[u8]) -> Option<usize> {
    let at = memchr::memmem::find(text, BEFORE.as_bytes())? + BEFORE.len();
    std::str::from_utf8(text.get(at..at + 7)?).ok()?.parse().ok()
}
