//! The downward API: fields of a pod and amounts of its containers as text.
//!
//! Which paths exist is listed in Kubernetes' documentation "Downward API"; an unknown one is an error, not empty text.

use crate::k8s::{ObjectFieldSelector, Pod, ResourceFieldSelector, namespace, uid};
use crate::quantity::{milli, units};
use crate::resources::all_containers;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What only the node knows about a pod, for the downward API.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    /// The node's addresses, first is `status.hostIP`.
    pub host_ips: Vec<String>,
    /// The pod's addresses, first is `status.podIP`; empty before its sandbox runs.
    pub pod_ips: Vec<String>,
    /// Allocatable milli-CPUs: the limit of a container that has none.
    pub allocatable_milli_cpu: i64,
    /// Allocatable bytes of memory, likewise.
    pub allocatable_memory: i64,
    /// Allocatable bytes of ephemeral storage, likewise.
    pub allocatable_storage: i64,
}

/// Why a reference has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownwardError {
    /// No such field may be referred to.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// The named container is not in the pod.
    #[error("container {0:?} not found in the pod")]
    Container(String),
    /// The resource or its divisor is not supported.
    #[error("unsupported container resource: {0}")]
    Resource(String),
}

/// The text of a field, as both environment variables and volumes see it.
pub fn field(pod: &Pod, selector: &ObjectFieldSelector, facts: &NodeFacts) -> Result<String, DownwardError> {
    let path = selector.field_path.as_str();
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = subscript(path) {
        let of = |m: &Option<BTreeMap<String, String>>| {
            m.as_ref().and_then(|m| m.get(key).cloned()).unwrap_or_default()
        };
        return match map {
            "metadata.annotations" => Ok(of(&meta.annotations)),
            "metadata.labels" => Ok(of(&meta.labels)),
            _ => Err(DownwardError::Field(path.to_owned())),
        };
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => namespace(meta).to_owned(),
        "metadata.uid" => uid(meta).to_owned(),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .and_then(|s| s.service_account_name.clone())
            .unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        other => return Err(DownwardError::Field(other.to_owned())),
    })
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// `key="value"` lines, sorted by key, the value quoted with escapes.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let mut out = String::new();
    for (i, (key, value)) in map.into_iter().flatten().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        // Writing to a String cannot fail.
        let _infallible = write!(out, "{key}={}", quote(value));
    }
    out
}

fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _infallible = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text of an amount. `own` is the container that a reference without `containerName` means.
pub fn resource(
    pod: &Pod,
    own: Option<&str>,
    selector: &ResourceFieldSelector,
    facts: &NodeFacts,
) -> Result<String, DownwardError> {
    let wanted = selector
        .container_name
        .as_deref()
        .filter(|n| !n.is_empty())
        .or(own)
        .unwrap_or_default();
    let container = pod
        .spec
        .iter()
        .flat_map(all_containers)
        .find(|c| c.name == wanted)
        .ok_or_else(|| DownwardError::Container(wanted.to_owned()))?;
    let unsupported = || DownwardError::Resource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let (allocatable, cpu) = match name {
        "cpu" => (facts.allocatable_milli_cpu, true),
        "memory" => (facts.allocatable_memory, false),
        "ephemeral-storage" => (facts.allocatable_storage, false),
        n if n.starts_with("hugepages-") => (0, false),
        _ => return Err(unsupported()),
    };
    let read = |l: Option<&crate::k8s::ResourceList>| {
        l.and_then(|l| l.get(name))
            .and_then(|q| if cpu { milli(q) } else { units(q) })
    };
    let r = container.resources.as_ref();
    let limit = read(r.and_then(|r| r.limits.as_ref()));
    let amount = match list {
        "limits" => limit.filter(|l| *l > 0).unwrap_or(allocatable),
        "requests" => read(r.and_then(|r| r.requests.as_ref())).or(limit).unwrap_or(0),
        _ => return Err(unsupported()),
    };
    let divisor = selector
        .divisor
        .as_ref()
        .and_then(|d| if cpu { milli(d) } else { units(d) })
        .filter(|d| *d > 0);
    let divisor = divisor.unwrap_or(if cpu { 1000 } else { 1 });
    Ok((amount.div_euclid(divisor) + i64::from(amount % divisor != 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_str(
            r#"{"metadata":{"name":"p","namespace":"n","uid":"u","labels":{"b":"2","a":"x\"y\n"},"annotations":{"k/l":"v"}},
                "spec":{"nodeName":"node","serviceAccountName":"sa","containers":[
                  {"name":"c","resources":{"requests":{"cpu":"250m","memory":"1000"},"limits":{"memory":"64Mi"}}}]}}"#,
        )
        .unwrap()
    }

    fn facts() -> NodeFacts {
        NodeFacts {
            host_ips: vec!["10.0.0.1".into()],
            pod_ips: vec!["10.1.0.2".into(), "fd00::2".into()],
            allocatable_milli_cpu: 3500,
            allocatable_memory: 1 << 30,
            allocatable_storage: 0,
        }
    }

    #[test]
    fn fields_of_a_pod_are_text_and_unknown_ones_errors() {
        let get = |path: &str| {
            field(
                &pod(),
                &ObjectFieldSelector {
                    field_path: path.into(),
                    ..Default::default()
                },
                &facts(),
            )
        };
        assert_eq!(get("metadata.labels").unwrap(), "a=\"x\\\"y\\n\"\nb=\"2\"");
        assert_eq!(get("metadata.annotations['k/l']").unwrap(), "v");
        assert_eq!(get("metadata.labels['none']").unwrap(), "");
        assert_eq!(get("status.podIPs").unwrap(), "10.1.0.2,fd00::2");
        assert_eq!(get("spec.nodeName").unwrap(), "node");
        assert_eq!(get("spec.nope"), Err(DownwardError::Field("spec.nope".into())));
    }

    #[test]
    fn amounts_are_divided_rounded_up_and_default_to_the_node() {
        let get = |resource: &str, divisor: Option<&str>| {
            let selector = ResourceFieldSelector {
                resource: resource.into(),
                divisor: divisor.map(|d| crate::k8s::Quantity(d.into())),
                container_name: None,
            };
            super::resource(&pod(), Some("c"), &selector, &facts()).unwrap()
        };
        assert_eq!(get("requests.cpu", None), "1");
        assert_eq!(get("requests.cpu", Some("1m")), "250");
        assert_eq!(get("limits.cpu", None), "4");
        assert_eq!(get("limits.memory", Some("1Mi")), "64");
        assert_eq!(get("requests.memory", Some("1Ki")), "1");
    }
}
