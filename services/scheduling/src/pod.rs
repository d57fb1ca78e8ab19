//! A pod, reduced to what scheduling decides on.

use crate::affinity::{NodeTerm, PodTerm, Weighted, pod_terms, preferred_pod_terms};
use crate::resources::{self, Resources};
use crate::taints::{Toleration, read_tolerations};
use machinery::Value;
use machinery::selector::{Operator, Requirement, Selector};

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
}

/// A port on the node that a container takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// `0.0.0.0` is every address.
    pub ip: String,
    pub protocol: String,
    pub port: i64,
}

impl HostPort {
    /// Whether two cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |p: &Self| p.ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(self) || any(other))
    }
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub struct Spread {
    pub max_skew: i64,
    pub topology_key: String,
    /// `DoNotSchedule` (else `ScheduleAnyway`).
    pub hard: bool,
    pub selector: Selector,
    pub min_domains: i64,
    /// `nodeAffinityPolicy: Honor`, the default.
    pub honor_affinity: bool,
    /// `nodeTaintsPolicy: Honor`; the default is to ignore them.
    pub honor_taints: bool,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    pub key: PodKey,
    pub uid: String,
    pub labels: Vec<(String, String)>,
    /// Where it is bound to; empty if nowhere yet.
    pub node_name: String,
    pub scheduler: String,
    pub priority: i64,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// Whether it is on its way out because the scheduler sent it away for another.
    pub preempted: bool,
    /// `status.startTime`, whose text (RFC 3339, in UTC, whole seconds) sorts as the time does.
    pub started: Option<Box<str>>,
    /// Whether it has ended (`Succeeded`, `Failed`) and takes no room any more.
    pub finished: bool,
    /// Names of gates that keep it from being scheduled.
    pub gates: Vec<String>,
    pub requests: Resources,
    pub nonzero: (i64, i64),
    pub tolerations: Vec<Toleration>,
    pub node_selector: Vec<(String, String)>,
    /// Required node affinity; `None`: no demand. An empty list matches nothing.
    pub node_terms: Option<Vec<NodeTerm>>,
    pub preferred_node_terms: Vec<Weighted<NodeTerm>>,
    pub affinity: Vec<PodTerm>,
    pub anti_affinity: Vec<PodTerm>,
    pub preferred_affinity: Vec<Weighted<PodTerm>>,
    pub preferred_anti_affinity: Vec<Weighted<PodTerm>>,
    pub spread: Vec<Spread>,
    pub host_ports: Vec<HostPort>,
    pub images: Vec<String>,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    /// The node on which others were sent away for it; empty if none.
    pub nominated: String,
}

fn text(value: &Value, path: &[&str]) -> String {
    value.str_at(path).unwrap_or_default().to_owned()
}

fn pairs(map: &Value) -> Vec<(String, String)> {
    let entries = map.as_map().into_iter().flat_map(|m| m.iter());
    entries
        .map(|(k, v)| (k.to_owned(), v.as_str().unwrap_or_default().to_owned()))
        .collect()
}

impl Pod {
    /// Reads a Pod object.
    pub fn read(object: &Value) -> Self {
        let (meta, spec) = (&object["metadata"], &object["spec"]);
        let namespace = text(meta, &["namespace"]);
        let labels = pairs(&meta["labels"]);
        let node_affinity = spec.at(&["affinity", "nodeAffinity"]);
        let required = node_affinity.at(&["requiredDuringSchedulingIgnoredDuringExecution"]);
        let preferred = node_affinity.list_at(&["preferredDuringSchedulingIgnoredDuringExecution"]);
        let containers = || {
            spec.list_at(&["initContainers"])
                .iter()
                .chain(spec.list_at(&["containers"]))
        };
        let phase = object.str_at(&["status", "phase"]);
        Self {
            uid: text(meta, &["uid"]),
            node_name: text(spec, &["nodeName"]),
            scheduler: text(spec, &["schedulerName"]),
            priority: spec.int_at(&["priority"]).unwrap_or(0),
            terminating: !meta["deletionTimestamp"].is_null(),
            preempted: !meta["deletionTimestamp"].is_null() && sent_away(object),
            started: object.str_at(&["status", "startTime"]).map(Box::from),
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            gates: spec
                .list_at(&["schedulingGates"])
                .iter()
                .map(|g| text(g, &["name"]))
                .collect(),
            requests: resources::of_pod(spec),
            nonzero: resources::nonzero_of_pod(spec),
            tolerations: read_tolerations(spec),
            node_selector: pairs(&spec["nodeSelector"]),
            node_terms: (!required.is_null()).then(|| {
                required
                    .list_at(&["nodeSelectorTerms"])
                    .iter()
                    .map(NodeTerm::read)
                    .collect()
            }),
            preferred_node_terms: preferred
                .iter()
                .map(|w| Weighted {
                    weight: w.int_at(&["weight"]).unwrap_or(0),
                    term: NodeTerm::read(&w["preference"]),
                })
                .collect(),
            affinity: pod_terms(spec, "podAffinity", &namespace, &labels),
            anti_affinity: pod_terms(spec, "podAntiAffinity", &namespace, &labels),
            preferred_affinity: preferred_pod_terms(spec, "podAffinity", &namespace, &labels),
            preferred_anti_affinity: preferred_pod_terms(spec, "podAntiAffinity", &namespace, &labels),
            spread: spec
                .list_at(&["topologySpreadConstraints"])
                .iter()
                .map(|s| Spread::read(s, &labels))
                .collect(),
            host_ports: containers()
                .filter(|c| c.str_at(&["restartPolicy"]).is_some() || !is_init(spec, c))
                .flat_map(|c| c.list_at(&["ports"]))
                .filter_map(HostPort::read)
                .collect(),
            images: containers().map(|c| text(c, &["image"])).collect(),
            never_preempts: spec.str_at(&["preemptionPolicy"]) == Some("Never"),
            nominated: text(object, &["status", "nominatedNodeName"]),
            key: PodKey {
                namespace,
                name: text(meta, &["name"]),
            },
            labels,
        }
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }
}

fn sent_away(object: &Value) -> bool {
    let conditions = object.list_at(&["status", "conditions"]);
    conditions.iter().any(|c| {
        c.str_at(&["type"]) == Some("DisruptionTarget")
            && c.str_at(&["status"]) == Some("True")
            && c.str_at(&["reason"]) == Some("PreemptionByScheduler")
    })
}

fn is_init(spec: &Value, container: &Value) -> bool {
    spec.list_at(&["initContainers"])
        .iter()
        .any(|c| std::ptr::eq(c, container))
}

impl HostPort {
    fn read(port: &Value) -> Option<Self> {
        let number = port.int_at(&["hostPort"]).filter(|p| *p > 0)?;
        let or = |path: &[&str], default: &str| {
            let given = port.str_at(path).unwrap_or_default();
            if given.is_empty() {
                default.to_owned()
            } else {
                given.to_owned()
            }
        };
        Some(Self {
            ip: or(&["hostIP"], "0.0.0.0"),
            protocol: or(&["protocol"], "TCP"),
            port: number,
        })
    }
}

impl Spread {
    fn read(constraint: &Value, labels: &[(String, String)]) -> Self {
        let mut selector = match &constraint["labelSelector"] {
            Value::Null => Selector::nothing(),
            object => Selector::from_object(object).unwrap_or_else(|_| Selector::nothing()),
        };
        for key in constraint
            .list_at(&["matchLabelKeys"])
            .iter()
            .filter_map(Value::as_str)
        {
            let Some((_, value)) = labels.iter().find(|(k, _)| k == key) else {
                continue;
            };
            if let Ok(requirement) = Requirement::new(key, Operator::In, vec![value.clone()]) {
                let mut all = selector.requirements().to_vec();
                all.push(requirement);
                selector = Selector::new(all);
            }
        }
        Self {
            max_skew: constraint.int_at(&["maxSkew"]).unwrap_or(1),
            topology_key: text(constraint, &["topologyKey"]),
            hard: constraint.str_at(&["whenUnsatisfiable"]) != Some("ScheduleAnyway"),
            selector,
            min_domains: constraint.int_at(&["minDomains"]).unwrap_or(1),
            honor_affinity: constraint.str_at(&["nodeAffinityPolicy"]) != Some("Ignore"),
            honor_taints: constraint.str_at(&["nodeTaintsPolicy"]) == Some("Honor"),
        }
    }
}
