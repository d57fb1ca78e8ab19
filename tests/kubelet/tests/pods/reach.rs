//! Reaching into a pod: logs, commands, probes, the network.

use crate::shell;
use kubelet_tests::{Node, container, is_ready};
use serde_json::json;
use std::time::{Duration, Instant};

pub(crate) async fn logs_can_be_read_by_tail_and_of_the_previous_container(node: &Node) {
    let c = shell(
        "if [ -e /data/ran ]; then echo second; sleep 600; else touch /data/ran; for i in 1 2 3; do echo line $i; done; exit 1; fi",
    );
    let mut c = c;
    c["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    node.run(
        "logs",
        json!({"volumes": [{"name": "data", "emptyDir": {}}], "containers": [c]}),
    )
    .await;
    node.until("logs", "started again", |p| {
        container(p).is_some_and(|c| c.restart_count == 1 && c.ready)
    })
    .await;
    let read = async |query: &str| {
        node.kubelet(&format!("/containerLogs/default/logs/c{query}"))
            .await
    };
    let started = Instant::now();
    while read("").await != "second\n" {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "the second container logs nothing"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read("?previous=true").await, "line 1\nline 2\nline 3\n");
    assert_eq!(read("?previous=true&tailLines=1").await, "line 3\n");
    assert_eq!(read("?previous=true&limitBytes=6").await, "line 1");
    let stamped = read("?previous=true&tailLines=1&timestamps=true").await;
    assert!(
        stamped.starts_with("20") && stamped.ends_with("Z line 3\n"),
        "{stamped}"
    );
    node.delete("logs").await;
}

pub(crate) async fn a_command_in_a_container_has_its_streams_and_exit_code(node: &Node) {
    node.run("exec", json!({"containers": [shell("sleep 600")]}))
        .await;
    node.until_ready("exec").await;
    let (out, err, status) = node
        .exec("exec", &["sh", "-c", "cat; echo problem >&2"], b"some input\n")
        .await;
    assert_eq!(
        (out.as_str(), err.as_str(), status["status"].as_str()),
        ("some input\n", "problem\n", Some("Success"))
    );
    let (_, _, status) = node.exec("exec", &["sh", "-c", "exit 7"], b"").await;
    assert_eq!(status["details"]["causes"][0]["message"], "7");
    node.delete("exec").await;
}

pub(crate) async fn probes_decide_readiness_and_restarts(node: &Node) {
    let mut c = shell("touch /healthy; trap 'exit 0' TERM; while :; do sleep 0.1; done");
    c["readinessProbe"] = json!({"exec": {"command": ["cat", "/ready"]}, "periodSeconds": 1});
    c["livenessProbe"] =
        json!({"exec": {"command": ["cat", "/healthy"]}, "periodSeconds": 1, "failureThreshold": 1});
    c["startupProbe"] = json!({"exec": {"command": ["cat", "/healthy"]}, "periodSeconds": 1});
    node.run("probed", json!({"containers": [c]})).await;
    let pod = node
        .until("probed", "started", |p| {
            container(p).is_some_and(|c| c.started == Some(true))
        })
        .await;
    assert!(!is_ready(&pod), "its readiness probe cannot have succeeded");
    node.exec("probed", &["touch", "/ready"], b"").await;
    node.until_ready("probed").await;
    node.exec("probed", &["rm", "/healthy"], b"").await;
    node.until("probed", "restarted", |p| {
        container(p).is_some_and(|c| c.restart_count == 1)
    })
    .await;
    let started = Instant::now();
    loop {
        let events = node.events("probed").await;
        if events.contains("Unhealthy: Liveness probe failed")
            && events.contains("Killing: Container c failed liveness probe")
        {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{events}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.delete("probed").await;
}

pub(crate) async fn pods_reach_each_other_and_are_probed_by_http(node: &Node) {
    let shop = json!({"name": "c", "image": oci::seeds::SHOP[0], "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "web"}, "periodSeconds": 1}});
    node.run("server", json!({"containers": [shop]})).await;
    let server = node.until_ready("server").await;
    let ip = server.status.and_then(|s| s.pod_ip).expect("it has an address");
    assert!(ip.starts_with("10.64.1."), "{ip}");
    let fetch = format!("wget -q -O - http://{ip}:8080/");
    node.run(
        "client",
        json!({"restartPolicy": "Never", "containers": [shell(&fetch)]}),
    )
    .await;
    node.until_phase("client", "Succeeded").await;
    assert!(!node.log("client").await.is_empty());
    node.delete("client").await;
    node.delete("server").await;
}

pub(crate) async fn the_kubelet_tells_of_its_pods_and_itself(node: &Node) {
    node.run("seen", json!({"containers": [shell("sleep 600")]}))
        .await;
    node.until_ready("seen").await;
    assert_eq!(node.kubelet("/healthz").await, "ok");
    let pods: serde_json::Value = serde_json::from_str(&node.kubelet("/pods").await).expect("JSON");
    let items = pods["items"].as_array().expect("a list");
    let seen = items.iter().find(|p| p["metadata"]["name"] == "seen");
    assert_eq!(seen.map(|p| &p["status"]["phase"]), Some(&"Running".into()));
    let metrics = node.kubelet("/metrics").await;
    for family in [
        "kubelet_running_pods",
        "kubelet_running_containers",
        "kubelet_pod_start_duration_seconds_count",
        "kubelet_runtime_operations_total",
        "kubelet_node_name",
    ] {
        assert!(metrics.contains(family), "{family} is missing:\n{metrics}");
    }
    let stats: serde_json::Value = serde_json::from_str(&node.kubelet("/stats/summary").await).expect("JSON");
    assert_eq!(stats["node"]["nodeName"], node.name());
    let names: Vec<_> = stats["pods"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|p| &p["podRef"]["name"])
        .collect();
    assert!(names.contains(&&"seen".into()), "{names:?}");
    node.delete("seen").await;
}
