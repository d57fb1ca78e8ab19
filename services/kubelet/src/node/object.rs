//! The Node object: pure.

use super::facts::Machine;
use crate::engine::Health;
use crate::k8s::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
    NodeStatus, ObjectMeta, Time,
};
use crate::options::Options;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Images that the status lists, the largest first (upstream's limit).
const MAX_IMAGES: usize = 50;

/// What changes while the node runs.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The runtime's health; `None` if it does not answer.
    pub health: Option<Health>,
    /// Whether memory, disk, process numbers are short.
    pub pressure: (bool, bool, bool),
    /// Images: names and bytes.
    pub images: Vec<(Vec<String>, u64)>,
    /// The runtime, as `containerd://2.1.9`.
    pub runtime_version: String,
}

/// The labels that every node has, and the options'.
pub fn labels(options: &Options, machine: &Machine) -> BTreeMap<String, String> {
    let mut labels = options.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", options.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", &machine.info.architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", &machine.info.architecture),
    ] {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    labels
}

/// The Node to register.
pub fn node(options: &Options, machine: &Machine, live: &Live, now: Timestamp) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(options.node_name.clone()),
            labels: Some(labels(options, machine)),
            annotations: Some(BTreeMap::from([(
                "volumes.kubernetes.io/controller-managed-attach-detach".to_owned(),
                "true".to_owned(),
            )])),
            ..Default::default()
        },
        spec: Some(NodeSpec {
            provider_id: options.provider_id.clone(),
            taints: Some(options.taints.clone()).filter(|t| !t.is_empty()),
            ..Default::default()
        }),
        status: Some(status(options, machine, live, None, now)),
    }
}

/// The node's status. Conditions that are not the kubelet's are not in it.
pub fn status(
    options: &Options,
    machine: &Machine,
    live: &Live,
    before: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let mut info = machine.info.clone();
    info.container_runtime_version.clone_from(&live.runtime_version);
    let mut addresses: Vec<NodeAddress> = options
        .addresses
        .iter()
        .map(|ip| NodeAddress {
            type_: "InternalIP".to_owned(),
            address: ip.to_string(),
        })
        .collect();
    addresses.push(NodeAddress {
        type_: "Hostname".to_owned(),
        address: options.node_name.clone(),
    });
    let mut images = live.images.clone();
    images.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    images.truncate(MAX_IMAGES);
    let image = |(names, size): (Vec<String>, u64)| ContainerImage {
        names: Some(names),
        size_bytes: i64::try_from(size).ok(),
    };
    let handlers = live
        .health
        .iter()
        .flat_map(|h| &h.handlers)
        .map(|(name, read_only, users)| crate::k8s::NodeRuntimeHandler {
            name: Some(name.clone()),
            features: Some(crate::k8s::NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(*read_only),
                user_namespaces: Some(*users),
            }),
        });
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(machine.capacity.clone()),
        allocatable: Some(machine.allocatable.clone()),
        conditions: Some(conditions(live, before, now)),
        daemon_endpoints: options.listen.map(|l| NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(l.port()),
            }),
        }),
        images: Some(images.into_iter().map(image).collect()),
        node_info: Some(info),
        runtime_handlers: Some(handlers.collect()),
        ..Default::default()
    }
}

fn conditions(live: &Live, before: Option<&NodeStatus>, now: Timestamp) -> Vec<NodeCondition> {
    let (memory, disk, pids) = live.pressure;
    let pressure = |short: bool,
                    kind: &'static str,
                    yes: (&'static str, &'static str),
                    no: (&'static str, &'static str)| {
        let (reason, message) = if short { yes } else { no };
        (kind, short, reason, message.to_owned())
    };
    let ready = match &live.health {
        Some(h) if h.runtime && h.network => (
            "Ready",
            true,
            "KubeletReady",
            "kubelet is posting ready status".to_owned(),
        ),
        Some(h) => ("Ready", false, "KubeletNotReady", h.message.clone()),
        None => (
            "Ready",
            false,
            "KubeletNotReady",
            "[container runtime is down]".to_owned(),
        ),
    };
    let all = [
        pressure(
            memory,
            "MemoryPressure",
            (
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            ),
            (
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
        ),
        pressure(
            disk,
            "DiskPressure",
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            pids,
            "PIDPressure",
            (
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
            ),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    all.into_iter()
        .map(|(kind, on, reason, message)| {
            let status = if on { "True" } else { "False" };
            let old = before
                .and_then(|b| b.conditions.as_ref())
                .into_iter()
                .flatten()
                .find(|c| c.type_ == kind);
            let since = old
                .filter(|o| o.status == status)
                .and_then(|o| o.last_transition_time.clone());
            NodeCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_heartbeat_time: Some(Time(now)),
                last_transition_time: since.or(Some(Time(now))),
            }
        })
        .collect()
}

/// Whether two statuses differ in more than their heartbeats.
pub fn differs(a: &NodeStatus, b: &NodeStatus) -> bool {
    let plain = |s: &NodeStatus| {
        let mut s = s.clone();
        s.conditions
            .iter_mut()
            .flatten()
            .for_each(|c| c.last_heartbeat_time = None);
        s
    };
    plain(a) != plain(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_when_its_runtime_and_network_are() {
        let options = Options {
            addresses: vec!["10.0.0.5".parse().unwrap()],
            ..Options::new("n1")
        };
        let machine = Machine::default();
        let t: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let later = t + jiff::SignedDuration::from_secs(60);
        let health = |network| {
            Some(Health {
                runtime: true,
                network,
                message: "cni".into(),
                ..Default::default()
            })
        };
        let first = node(
            &options,
            &machine,
            &Live {
                health: health(false),
                ..Default::default()
            },
            t,
        )
        .status
        .unwrap();
        let ready = |s: &NodeStatus| {
            s.conditions
                .clone()
                .unwrap()
                .into_iter()
                .find(|c| c.type_ == "Ready")
                .unwrap()
        };
        assert_eq!(
            (ready(&first).status.as_str(), ready(&first).message.as_deref()),
            ("False", Some("cni"))
        );
        let live = Live {
            health: health(true),
            ..Default::default()
        };
        let second = status(&options, &machine, &live, Some(&first), later);
        assert_eq!(ready(&second).last_transition_time, Some(Time(later)));
        let disk = second
            .conditions
            .clone()
            .unwrap()
            .into_iter()
            .find(|c| c.type_ == "DiskPressure")
            .unwrap();
        assert_eq!(
            disk.last_transition_time,
            Some(Time(t)),
            "what did not change keeps its time"
        );
        assert!(differs(&first, &second));
        assert!(!differs(
            &second,
            &status(
                &options,
                &machine,
                &live,
                Some(&second),
                later + jiff::SignedDuration::from_secs(9)
            )
        ));
        assert_eq!(second.addresses.unwrap()[0].address, "10.0.0.5");
    }
}
