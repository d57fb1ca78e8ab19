//! What a fake node says of itself.

use serde_json::{Value, json};

/// A node to simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its instance type.
    pub instance_type: String,
    /// Its pool, for the label that real nodes have, too.
    pub pool: String,
    /// `<cloud>://…`.
    pub provider_id: String,
    /// Its address.
    pub address: String,
    /// Thousandths of a core.
    pub milli_cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Pods it takes.
    pub max_pods: u32,
}

/// The Node object that the node registers with.
pub(crate) fn object(spec: &NodeSpec, version: &str, now: &str) -> Value {
    let resources = json!({
        "cpu": format!("{}m", spec.milli_cpu),
        "memory": spec.memory.to_string(),
        "ephemeral-storage": "100Gi",
        "pods": spec.max_pods.to_string(),
    });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": spec.name, "labels": {
            "kubernetes.io/hostname": spec.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": spec.instance_type,
            "topology.kubernetes.io/zone": spec.zone,
            "topology.kubernetes.io/region": "sim",
            "marina.dev/node-pool": spec.pool,
        } },
        "spec": { "providerID": spec.provider_id },
        "status": {
            "capacity": resources.clone(),
            "allocatable": resources,
            "addresses": [
                { "type": "InternalIP", "address": spec.address },
                { "type": "Hostname", "address": spec.name },
            ],
            "conditions": conditions(now),
            "nodeInfo": {
                "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "sim://1", "kernelVersion": "simulated",
                "kubeProxyVersion": "", "kubeletVersion": version, "machineID": spec.name,
                "operatingSystem": "linux", "osImage": "simulated", "systemUUID": spec.name,
            },
        },
    })
}

/// The conditions of a healthy node.
pub(crate) fn conditions(now: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({ "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now })
    };
    json!([
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        condition(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure"
        ),
        condition(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available"
        ),
        condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ])
}
