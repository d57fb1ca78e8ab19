//! `/stats/summary`: what the node and its pods use, for the metrics API and `kubectl top`.

use super::{answer, json};
use crate::context::Context;
use crate::names;
use crate::node::facts::{self, Machine};
use base::clock::rfc3339;
use cri::v1::ContainerStats;
use http::{Response, StatusCode};
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::sync::Arc;
use streams::upgrade::Body;

fn usage(stats: &ContainerStats, time: &str) -> (Value, Value) {
    let cpu = stats.cpu.as_ref();
    let memory = stats.memory.as_ref();
    let cpu = value!({
        "time": time,
        "usageNanoCores": cpu.and_then(|c| c.usage_nano_cores).map(|v| v.value),
        "usageCoreNanoSeconds": cpu.and_then(|c| c.usage_core_nano_seconds).map(|v| v.value),
    });
    let memory = value!({
        "time": time,
        "workingSetBytes": memory.and_then(|m| m.working_set_bytes).map(|v| v.value),
        "usageBytes": memory.and_then(|m| m.usage_bytes).map(|v| v.value),
        "rssBytes": memory.and_then(|m| m.rss_bytes).map(|v| v.value),
    });
    (cpu, memory)
}

fn label<'a>(stats: &'a ContainerStats, key: &str) -> &'a str {
    stats
        .attributes
        .as_ref()
        .and_then(|a| a.labels.get(key))
        .map(String::as_str)
        .unwrap_or_default()
}

/// CPU time that the machine has used since its boot, nanoseconds: of its own control group, else of the kernel.
fn node_cpu() -> u64 {
    let own = std::fs::read_to_string("/sys/fs/cgroup/cpuacct/cpuacct.usage")
        .ok()
        .and_then(|t| t.trim().parse().ok());
    let unified = || {
        let text = std::fs::read_to_string("/sys/fs/cgroup/cpu.stat").ok()?;
        let micros: u64 = text
            .lines()
            .find_map(|l| l.strip_prefix("usage_usec "))?
            .trim()
            .parse()
            .ok()?;
        Some(micros.saturating_mul(1000))
    };
    own.or_else(unified).unwrap_or(0)
}

pub(super) async fn summary(cx: &Arc<Context>, machine: &Machine) -> Response<Body> {
    let all = match cx.engine.container_stats().await {
        Ok(all) => all,
        Err(status) => return answer(StatusCode::INTERNAL_SERVER_ERROR, status.message().to_owned()),
    };
    let time = rfc3339(cx.clock.now());
    let mut pods: BTreeMap<String, (Value, Vec<Value>, u64, u64)> = BTreeMap::new();
    for stats in &all {
        let uid = label(stats, names::POD_UID);
        if uid.is_empty() {
            continue;
        }
        let (cpu, memory) = usage(stats, &time);
        let pod = pods.entry(uid.to_owned()).or_insert_with(|| {
            let reference =
                value!({"name": label(stats, names::POD_NAME), "namespace": label(stats, names::POD_NAMESPACE), "uid": uid});
            (reference, Vec::new(), 0, 0)
        });
        pod.2 += cpu["usageNanoCores"].as_u64().unwrap_or(0);
        pod.3 += memory["workingSetBytes"].as_u64().unwrap_or(0);
        let name = label(stats, names::CONTAINER_NAME);
        pod.1
            .push(value!({"name": name, "startTime": time, "cpu": cpu, "memory": memory}));
    }
    let pods: Vec<Value> = pods
        .into_values()
        .map(|(reference, containers, cpu, memory)| {
            value!({
                "podRef": reference,
                "startTime": time,
                "containers": containers,
                "cpu": {"time": time, "usageNanoCores": cpu},
                "memory": {"time": time, "workingSetBytes": memory},
            })
        })
        .collect();
    let capacity = crate::quantity::units_of(Some(&machine.capacity), "memory").unwrap_or(0);
    let available = facts::memory_available();
    let (size, free) = facts::disk(cx.paths.root()).unwrap_or_default();
    json(&value!({
        "node": {
            "nodeName": cx.node_name,
            "startTime": time,
            "cpu": {"time": time, "usageCoreNanoSeconds": node_cpu()},
            "memory": {
                "time": time,
                "availableBytes": available,
                "workingSetBytes": capacity.saturating_sub(available).max(0),
                "usageBytes": capacity.saturating_sub(available).max(0),
            },
            "fs": {"time": time, "capacityBytes": size, "availableBytes": free, "usedBytes": size.saturating_sub(free)},
        },
        "pods": pods,
    }))
}
