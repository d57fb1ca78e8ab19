//! The life of a pod: starting, restarting, ending.

use crate::shell;
use cri::v1::StopContainerRequest;
use kubelet_tests::{Node, container, phase_of};
use serde_json::json;
use std::time::Duration;

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn bare_id(pod: &api::core::v1::Pod) -> String {
    let id = container(pod)
        .and_then(|c| c.container_id.clone())
        .unwrap_or_default();
    id.trim_start_matches("containerd://").to_owned()
}

fn restarts(pod: &api::core::v1::Pod) -> i32 {
    container(pod).map_or(0, |c| c.restart_count)
}

pub(crate) async fn a_container_that_is_killed_is_started_again(node: &Node) {
    node.run("killed", json!({"containers": [shell(FOREVER)]})).await;
    let first = bare_id(&node.until_ready("killed").await);
    let request = StopContainerRequest {
        container_id: first.clone(),
        timeout: 0,
    };
    node.runtime()
        .runtime
        .stop_container(request)
        .await
        .expect("containerd stops it");
    let pod = node
        .until("killed", "restarted", |p| {
            restarts(p) == 1 && kubelet_tests::is_ready(p) && bare_id(p) != first
        })
        .await;
    let last = container(&pod)
        .and_then(|c| c.last_state.as_ref())
        .and_then(|s| s.terminated.as_ref());
    let last = last.expect("the end of the first is remembered");
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("Error")));
    node.delete("killed").await;
}

/// The start is broken off wherever it is: before the sandbox, between container and start, just after it. Which of them a
/// pod meets is chance, so there are many.
pub(crate) async fn a_pod_that_is_deleted_while_it_starts_goes(node: &Node) {
    for round in 0..5u64 {
        let hasty = (0..12u64).map(|n| async move {
            let name = format!("hasty-{round}-{n}");
            node.run(&name, json!({"containers": [shell(FOREVER)]})).await;
            tokio::time::sleep(Duration::from_millis(n * 75 + round * 15)).await;
            node.delete(&name).await;
        });
        futures::future::join_all(hasty).await;
    }
}

pub(crate) async fn a_pod_that_never_restarts_ends_with_its_exit_code(node: &Node) {
    let never = |script: &str| json!({"restartPolicy": "Never", "containers": [shell(script)]});
    node.run("fails", never("echo out of luck > /dev/termination-log; exit 3"))
        .await;
    node.run("succeeds", never("exit 0")).await;
    let pod = node.until_phase("fails", "Failed").await;
    let end = container(&pod).and_then(|c| c.state.as_ref()?.terminated.clone());
    let end = end.expect("it has ended");
    assert_eq!(
        (end.exit_code, end.reason.as_deref(), end.message.as_deref()),
        (3, Some("Error"), Some("out of luck\n"))
    );
    let pod = node.until_phase("succeeds", "Succeeded").await;
    let end = container(&pod).and_then(|c| c.state.as_ref()?.terminated.clone());
    assert_eq!(end.and_then(|e| e.reason).as_deref(), Some("Completed"));
    node.delete("fails").await;
    node.delete("succeeds").await;
}

pub(crate) async fn init_containers_run_in_order_and_sidecars_go_on(node: &Node) {
    let mounts = json!([{"name": "shared", "mountPath": "/shared"}]);
    let with = |name: &str, script: &str, policy: Option<&str>| {
        let mut c = shell(script);
        c["name"] = name.into();
        c["volumeMounts"] = mounts.clone();
        if let Some(policy) = policy {
            c["restartPolicy"] = policy.into();
        }
        c
    };
    let spec = json!({
        "restartPolicy": "Never",
        "volumes": [{"name": "shared", "emptyDir": {"medium": "Memory"}}],
        "initContainers": [
            with("first", "echo first >> /shared/order", None),
            with("sidecar", "echo sidecar >> /shared/order; trap 'exit 0' TERM; while :; do sleep 0.1; done", Some("Always")),
            with("second", "while ! grep -q sidecar /shared/order; do sleep 0.05; done; echo second >> /shared/order", None),
        ],
        "containers": [with("c", "cat /shared/order; mount | grep ' /shared '", None)],
    });
    node.run("inits", spec).await;
    node.until_phase("inits", "Succeeded").await;
    let log = node.log("inits").await;
    assert!(log.starts_with("first\nsidecar\nsecond\ntmpfs"), "{log}");
    node.delete("inits").await;
}

pub(crate) async fn a_deleted_pod_gets_its_hook_its_signal_and_its_grace_period(node: &Node) {
    let dir = node.dir().join("graceful");
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut c = shell(
        "trap 'echo signal >> /out/order; sleep 0.3; echo end >> /out/order; exit 0' TERM; echo up > /out/order; while :; do sleep 0.05; done",
    );
    c["volumeMounts"] = json!([{"name": "out", "mountPath": "/out"}]);
    c["lifecycle"] = json!({"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /out/order"]}}});
    let spec = json!({
        "terminationGracePeriodSeconds": 30,
        "volumes": [{"name": "out", "hostPath": {"path": dir}}],
        "containers": [c],
    });
    node.run("graceful", spec).await;
    node.until_ready("graceful").await;
    while !dir.join("order").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.delete("graceful").await;
    let order = std::fs::read_to_string(dir.join("order")).expect("the container wrote");
    assert_eq!(order, "up\nhook\nsignal\nend\n");
    // What is left on the node goes after the API has forgotten the pod.
    let left = || {
        let logs = std::fs::read_dir(node.dir().join("log/pods")).expect("logs");
        logs.flatten()
            .any(|e| e.file_name().to_string_lossy().starts_with("default_graceful_"))
    };
    let started = std::time::Instant::now();
    while left() {
        assert!(started.elapsed() < Duration::from_secs(120), "its logs are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn a_pod_that_ignores_its_signal_is_killed_after_its_grace_period(node: &Node) {
    let spec = json!({
        "terminationGracePeriodSeconds": 2,
        "containers": [shell("trap '' TERM; echo deaf; while :; do sleep 0.1; done")],
    });
    node.run("stubborn", spec).await;
    node.until_ready("stubborn").await;
    while node.log("stubborn").await != "deaf\n" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = node.delete("stubborn").await;
    assert!(
        took >= Duration::from_millis(1900),
        "it was killed early: {took:?}"
    );
}

pub(crate) async fn a_static_pod_runs_and_is_shown_by_a_mirror_pod(node: &Node) {
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "static"},
        "spec": {"hostNetwork": true, "terminationGracePeriodSeconds": 1, "containers": [shell(FOREVER)]}});
    let file = node.dir().join("manifests/static.json");
    std::fs::write(&file, manifest.to_string()).expect("the directory is there");
    let name = format!("static-{}", node.name());
    let pod = node.until_ready(&name).await;
    let ip = pod.status.and_then(|s| s.pod_ip);
    assert_eq!(ip.as_deref(), Some("192.168.7.1"));
    std::fs::remove_file(&file).expect("it was written");
    let started = std::time::Instant::now();
    while node.pod(&name).await.is_some() {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "the mirror pod stays"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn a_missing_image_is_an_error_that_can_be_seen(node: &Node) {
    let mut c = shell("true");
    c["image"] = "marina.invalid/nothing:1".into();
    c["imagePullPolicy"] = "Never".into();
    node.run("no-image", json!({"containers": [c]})).await;
    let reason = |p: &api::core::v1::Pod| {
        container(p).and_then(|c| c.state.as_ref()?.waiting.as_ref()?.reason.clone())
    };
    let pod = node
        .until("no-image", "waiting for its image", |p| {
            reason(p).as_deref() == Some("ErrImageNeverPull")
        })
        .await;
    assert_eq!(phase_of(&pod), "Pending");
    node.delete("no-image").await;
}

pub(crate) async fn a_restarted_kubelet_takes_its_pods_over(node: &Node) {
    let mut c = shell(FOREVER);
    c["readinessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    node.run("stays", json!({"containers": [c]})).await;
    node.run("goes", json!({"containers": [shell(FOREVER)]})).await;
    let before = node.until_ready("stays").await;
    node.until_ready("goes").await;
    node.restart_kubelet().await.expect("a kubelet starts");
    // A new pod shows that the new kubelet works.
    node.run("after", json!({"containers": [shell(FOREVER)]})).await;
    node.until_ready("after").await;
    node.delete("goes").await;
    let after = node.until_ready("stays").await;
    assert_eq!((bare_id(&after), restarts(&after)), (bare_id(&before), 0));
    let transition = |p: &api::core::v1::Pod| {
        let list = p.status.as_ref()?.conditions.clone()?;
        list.into_iter()
            .find(|c| c.type_ == "Ready")?
            .last_transition_time
    };
    assert_eq!(
        transition(&after),
        transition(&before),
        "the pod was unready in between"
    );
    node.delete("stays").await;
    node.delete("after").await;
}
