//! Limits are the kernel's: what a pod asks for stands in its control groups, and acts.
//!
//! The tests hold on both interfaces of control groups; where they differ, version 2 is asked for more.

use crate::shell;
use kubelet::cgroups::{Cgroups, Version, pod_path, writes};
use kubelet::resources::{LinuxResources, container_resources, pod_resources};
use kubelet_tests::{Node, container};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(120);

/// The machine's own groups, which containers are put below.
fn groups() -> Cgroups {
    Cgroups::detect(Path::new("/sys/fs/cgroup"))
}

fn assert_written(path: &str, expected: &LinuxResources) {
    let groups = groups();
    for (controller, file, text) in writes(groups.version(), expected) {
        let file = groups.dir(controller, path).join(file);
        let found = std::fs::read_to_string(&file);
        let found = found.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(found.trim(), text, "{}", file.display());
    }
}

pub(crate) async fn limits_stand_in_the_groups_of_a_pod_and_of_its_container(node: &Node) {
    let guaranteed = json!({"limits": {"cpu": "250m", "memory": "48Mi"}});
    let burstable = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "32Mi"}});
    for (name, class, resources) in [
        ("guaranteed", "", guaranteed),
        ("burstable", "burstable/", burstable),
        ("best-effort", "besteffort/", json!({})),
    ] {
        let mut c = shell("sleep 600");
        c["resources"] = resources;
        node.run(name, json!({"containers": [c]})).await;
        let pod = node.until_ready(name).await;
        let path = pod_path(&pod);
        assert!(path.starts_with(&format!("/kubepods/{class}pod")), "{path}");
        let spec = pod.spec.as_ref().expect("a pod has one");
        assert_written(&path, &pod_resources(spec));

        let id = container(&pod).and_then(|c| c.container_id.clone());
        let id = id.expect("it runs");
        let own = format!("{path}/{}", id.trim_start_matches("containerd://"));
        let processes = std::fs::read_to_string(groups().dir("memory", &own).join("cgroup.procs"));
        assert_eq!(processes.expect("the container's group").lines().count(), 1);
        let mut expected = container_resources(spec.containers[0].resources.as_ref());
        // How the runtime turns shares into a weight is its own affair.
        expected.cpu_shares = 0;
        assert_written(&own, &expected);
        if expected.memory_limit > 0 && groups().version() == Version::V2 {
            let file = |name: &str| std::fs::read_to_string(groups().dir("memory", &own).join(name));
            assert_eq!(file("memory.oom.group").expect("version 2 has it"), "1\n");
            // Only there if the kernel can swap: a limit that can be got around by swapping is none.
            assert_eq!(file("memory.swap.max").unwrap_or_else(|_| "0\n".into()), "0\n");
        }

        node.delete(name).await;
        let started = Instant::now();
        while groups().dir("memory", &path).exists() {
            assert!(started.elapsed() < LIMIT, "the group {path} stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) async fn a_container_that_takes_more_memory_than_its_limit_is_killed(node: &Node) {
    let greedy = "dd if=/dev/zero of=/dev/null bs=128M count=1";
    // With version 2 the whole container ends, whichever of its processes was greedy.
    let script = match groups().version() {
        Version::V1 => format!("exec {greedy}"),
        Version::V2 => format!("{greedy}; sleep 600"),
    };
    let mut c = shell(&script);
    c["resources"] = json!({"limits": {"memory": "32Mi"}});
    node.run("greedy", json!({"restartPolicy": "Never", "containers": [c]}))
        .await;
    let pod = node.until_phase("greedy", "Failed").await;
    let end = container(&pod).and_then(|c| c.state.as_ref()?.terminated.clone());
    let end = end.expect("it has ended");
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("OOMKilled")));
    node.delete("greedy").await;
}

pub(crate) async fn a_container_that_wants_more_cpu_than_its_limit_is_held_back_and_seen(node: &Node) {
    let mut c = shell("while :; do :; done");
    c["resources"] = json!({"limits": {"cpu": "50m", "memory": "32Mi"}});
    node.run("busy", json!({"containers": [c]})).await;
    let pod = node.until_ready("busy").await;
    let file = groups().dir("cpu", &pod_path(&pod)).join("cpu.stat");
    let held_back = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let times = text.lines().find_map(|l| l.strip_prefix("nr_throttled "));
        times.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    };
    let started = Instant::now();
    let seen = loop {
        let text = node.kubelet("/stats/summary").await;
        let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(
            stats["node"]["cpu"]["usageCoreNanoSeconds"].as_u64() > Some(0),
            "{text}"
        );
        let pods = stats["pods"].as_array().cloned().unwrap_or_default();
        let own = pods.into_iter().find(|p| p["podRef"]["name"] == "busy");
        let own = own.filter(|p| {
            p["cpu"]["usageNanoCores"].as_u64() > Some(0)
                && p["memory"]["workingSetBytes"].as_u64() > Some(0)
                && held_back() > 0
        });
        if let Some(own) = own {
            break own;
        }
        assert!(
            started.elapsed() < LIMIT,
            "held back {} times: {text}",
            held_back()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let cores = seen["cpu"]["usageNanoCores"].as_u64().unwrap_or(0);
    assert!(cores < 100_000_000, "{seen}");
    assert!(
        seen["memory"]["workingSetBytes"].as_u64() < Some(32 << 20),
        "{seen}"
    );
    node.delete("busy").await;
}
