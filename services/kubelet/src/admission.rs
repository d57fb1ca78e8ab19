//! Whether this node takes a pod on: a pure last look, because the scheduler may have decided on old facts, and static
//! pods and DaemonSets of other schedulers never asked it.

use crate::k8s::{Pod, ResourceList};
use crate::resources::{all_containers, pod_request};
use std::collections::{BTreeMap, BTreeSet};

/// Why a pod is rejected: `status.reason` and `status.message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `OutOfcpu`, `NodeAffinity`, `NodePorts`, `OutOfpods`, ...
    pub reason: String,
    /// The details.
    pub message: String,
}

/// What the node has.
#[derive(Debug)]
pub struct Room<'a> {
    /// The node's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// What pods may use.
    pub allocatable: &'a ResourceList,
    /// Pods that are already here and have not ended.
    pub others: &'a [std::sync::Arc<Pod>],
}

/// Judges a pod.
pub fn admit(pod: &Pod, room: &Room<'_>) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let selects = |(key, value): (&String, &String)| room.labels.get(key) == Some(value);
    if !spec.node_selector.iter().flatten().all(selects) {
        let message = "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(Rejection {
            reason: "NodeAffinity".to_owned(),
            message: message.to_owned(),
        });
    }
    let ports = |p: &Pod| -> BTreeSet<(i32, String, String)> {
        let containers = p.spec.iter().flat_map(all_containers);
        containers
            .flat_map(|c| c.ports.iter().flatten())
            .filter_map(|p| {
                let port = p.host_port.filter(|h| *h > 0)?;
                let ip = p
                    .host_ip
                    .clone()
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or_else(|| "0.0.0.0".to_owned());
                Some((port, p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), ip))
            })
            .collect()
    };
    let own = ports(pod);
    let clash = |(port, protocol, ip): &(i32, String, String)| {
        own.iter()
            .any(|(p, t, i)| p == port && t == protocol && (i == ip || i == "0.0.0.0" || ip == "0.0.0.0"))
    };
    if !own.is_empty() && room.others.iter().any(|o| ports(o).iter().any(clash)) {
        let message = "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Err(Rejection {
            reason: "NodePorts".to_owned(),
            message: message.to_owned(),
        });
    }
    // Static and critical pods keep a node alive and are not counted out.
    if crate::pods::is_static(pod) || spec.priority.is_some_and(|p| p >= 2_000_000_000) {
        return Ok(());
    }
    let capacity = |name: &str| {
        let list = Some(room.allocatable);
        if name == "cpu" {
            crate::quantity::milli_of(list, name)
        } else {
            crate::quantity::units_of(list, name)
        }
    };
    let too_much = |name: &str, requested: i64, used: i64, capacity: i64| Rejection {
        reason: format!("OutOf{name}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    let pods = i64::try_from(room.others.len()).unwrap_or(i64::MAX);
    if let Some(most) = capacity("pods").filter(|most| pods >= *most) {
        return Err(too_much("pods", 1, pods, most));
    }
    let names: BTreeSet<&String> = all_containers(spec)
        .filter_map(|c| c.resources.as_ref())
        .flat_map(|r| {
            r.requests
                .iter()
                .flatten()
                .chain(r.limits.iter().flatten())
                .map(|(name, _)| name)
        })
        .collect();
    for name in names {
        let requested = pod_request(spec, name);
        if requested == 0 {
            continue;
        }
        let used = room
            .others
            .iter()
            .filter_map(|o| o.spec.as_ref())
            .map(|s| pod_request(s, name))
            .sum::<i64>();
        let most = capacity(name).unwrap_or(0);
        if used.saturating_add(requested) > most {
            return Err(too_much(name, requested, used, most));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn pod(spec: &str) -> Pod {
        serde_json::from_str(&format!(r#"{{"metadata":{{"name":"p"}},"spec":{spec}}}"#)).unwrap()
    }

    fn judge(new: &str, others: &[&str]) -> Option<String> {
        let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);
        let allocatable: ResourceList =
            serde_json::from_str(r#"{"cpu":"2","memory":"1Gi","pods":"3"}"#).unwrap();
        let others: Vec<_> = others.iter().map(|o| Arc::new(pod(o))).collect();
        admit(
            &pod(new),
            &Room {
                labels: &labels,
                allocatable: &allocatable,
                others: &others,
            },
        )
        .err()
        .map(|r| r.reason)
    }

    #[test]
    fn pods_that_do_not_fit_are_rejected_with_upstreams_reasons() {
        let cpu = |n: &str| {
            format!(r#"{{"containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{n}"}}}}}}]}}"#)
        };
        let port = r#"{"containers":[{"name":"c","ports":[{"containerPort":1,"hostPort":80}]}]}"#;
        assert_eq!(judge(&cpu("1500m"), &[]), None);
        assert_eq!(judge(&cpu("1500m"), &[&cpu("1")]).as_deref(), Some("OutOfcpu"));
        assert_eq!(judge(port, &[port]).as_deref(), Some("NodePorts"));
        assert_eq!(
            judge(r#"{"containers":[],"nodeSelector":{"zone":"b"}}"#, &[]).as_deref(),
            Some("NodeAffinity")
        );
        assert_eq!(
            judge(r#"{"containers":[],"nodeSelector":{"zone":"a"}}"#, &[]),
            None
        );
        let empty = r#"{"containers":[]}"#;
        assert_eq!(judge(empty, &[empty, empty, empty]).as_deref(), Some("OutOfpods"));
        let gpu = r#"{"containers":[{"name":"c","resources":{"limits":{"example.com/gpu":"1"}}}]}"#;
        assert_eq!(judge(gpu, &[]).as_deref(), Some("OutOfexample.com/gpu"));
    }
}
