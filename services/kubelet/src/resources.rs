//! Requests and limits as Linux values: QoS class, CPU shares and quota, memory limit, OOM score.
//!
//! Pure. The conversions are Kubernetes' (documentation "Node Pressure Eviction", "Pod QoS classes"; the kernel's ranges):
//! shares are 1024 for a CPU, at least 2; the quota is over 100 ms, at least 1 ms.

use crate::k8s::{Container, Pod, PodSpec, ResourceRequirements};
use crate::quantity::{milli_of, units_of};

/// The period of the CPU quota, microseconds.
pub const CPU_PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// A pod's quality of service class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Every container has equal requests and limits for CPU and memory.
    Guaranteed,
    /// Some container has a request or a limit.
    Burstable,
    /// No container has any.
    BestEffort,
}

impl Qos {
    /// The value of `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// All containers that a pod runs in its life except ephemeral ones.
pub fn all_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Whether an init container keeps running beside the pod's containers (a sidecar).
pub fn is_restartable_init(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The class of a pod: from pod-level resources if there are any, else from all its containers.
pub fn qos(spec: &PodSpec) -> Qos {
    let of = |r: Option<&ResourceRequirements>, name: &str| {
        let limit = r
            .and_then(|r| units_or_milli(r.limits.as_ref(), name))
            .filter(|v| *v > 0);
        let request = r
            .and_then(|r| units_or_milli(r.requests.as_ref(), name))
            .filter(|v| *v > 0);
        (request, limit)
    };
    let judge = |all: &mut dyn Iterator<Item = Option<&ResourceRequirements>>| {
        let (mut any, mut guaranteed) = (false, true);
        for r in all {
            for name in ["cpu", "memory"] {
                let (request, limit) = of(r, name);
                any |= request.is_some() || limit.is_some();
                // A request left out equals its limit.
                guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
            }
        }
        match (any, guaranteed) {
            (false, _) => Qos::BestEffort,
            (true, true) => Qos::Guaranteed,
            (true, false) => Qos::Burstable,
        }
    };
    match &spec.resources {
        Some(pod_level) => judge(&mut std::iter::once(Some(pod_level))),
        None => judge(&mut all_containers(spec).map(|c| c.resources.as_ref())),
    }
}

fn units_or_milli(list: Option<&crate::k8s::ResourceList>, name: &str) -> Option<i64> {
    if name == "cpu" {
        milli_of(list, name)
    } else {
        units_of(list, name)
    }
}

/// What the kernel is told about a container or a pod. Zero means "not set".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinuxResources {
    /// Relative weight of CPU time.
    pub cpu_shares: i64,
    /// CPU time in each period of 100 ms, microseconds; -1 means no limit.
    pub cpu_quota: i64,
    /// Bytes of memory.
    pub memory_limit: i64,
}

/// CPU shares for an amount of milli-CPUs.
pub fn shares(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The quota for a limit in milli-CPUs; 0 for no limit.
pub fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 {
        0
    } else {
        (milli_cpu.saturating_mul(CPU_PERIOD) / 1000).max(MIN_QUOTA)
    }
}

/// Values of one container. A CPU request left out is its limit.
pub fn container_resources(requirements: Option<&ResourceRequirements>) -> LinuxResources {
    let limits = requirements.and_then(|r| r.limits.as_ref());
    let requests = requirements.and_then(|r| r.requests.as_ref());
    let cpu_limit = milli_of(limits, "cpu").unwrap_or(0);
    let cpu_request = milli_of(requests, "cpu").unwrap_or(cpu_limit);
    LinuxResources {
        cpu_shares: shares(cpu_request),
        cpu_quota: quota(cpu_limit),
        memory_limit: units_of(limits, "memory").unwrap_or(0),
    }
}

/// Sum over a pod's containers of one resource, with Kubernetes' rule for init containers: sidecars add up, an
/// ordinary init container counts by the highest moment. `None` if `need_all` and some container leaves it out.
fn pod_total(
    spec: &PodSpec,
    need_all: bool,
    of: impl Fn(&ResourceRequirements) -> Option<i64>,
) -> Option<i64> {
    let value = |c: &Container| c.resources.as_ref().and_then(&of).filter(|v| *v > 0);
    if need_all && spec.containers.iter().any(|c| value(c).is_none()) {
        return None;
    }
    let mut sidecars = 0_i64;
    let mut peak = 0_i64;
    for c in spec.init_containers.iter().flatten() {
        let amount = match value(c) {
            Some(v) => v,
            None if need_all => return None,
            None => 0,
        };
        if is_restartable_init(c) {
            sidecars = sidecars.saturating_add(amount);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.saturating_add(amount));
        }
    }
    let running = spec
        .containers
        .iter()
        .filter_map(value)
        .fold(sidecars, i64::saturating_add);
    Some(running.max(peak))
}

/// Milli-CPUs or units a pod requests, of one resource (`cpu` in milli-units), overhead included.
pub fn pod_request(spec: &PodSpec, name: &str) -> i64 {
    let pod_level = spec
        .resources
        .as_ref()
        .and_then(|r| units_or_milli(r.requests.as_ref().or(r.limits.as_ref()), name));
    let containers = || {
        pod_total(spec, false, |r| {
            units_or_milli(r.requests.as_ref(), name).or_else(|| units_or_milli(r.limits.as_ref(), name))
        })
    };
    let overhead = units_or_milli(spec.overhead.as_ref(), name).unwrap_or(0);
    pod_level
        .or_else(containers)
        .unwrap_or(0)
        .saturating_add(overhead)
}

/// The limit of a pod, if its pod-level resources or all its containers have one.
pub fn pod_limit(spec: &PodSpec, name: &str) -> Option<i64> {
    let pod_level = spec
        .resources
        .as_ref()
        .and_then(|r| units_or_milli(r.limits.as_ref(), name));
    let overhead = units_or_milli(spec.overhead.as_ref(), name).unwrap_or(0);
    pod_level
        .or_else(|| pod_total(spec, true, |r| units_or_milli(r.limits.as_ref(), name)))
        .map(|limit| limit.saturating_add(overhead))
}

/// Values of a pod's own cgroup.
pub fn pod_resources(spec: &PodSpec) -> LinuxResources {
    LinuxResources {
        cpu_shares: shares(pod_request(spec, "cpu")),
        cpu_quota: pod_limit(spec, "cpu").map_or(-1, quota),
        memory_limit: pod_limit(spec, "memory").unwrap_or(0),
    }
}

/// `oom_score_adj` of a container: -997 for guaranteed and node-critical pods, 1000 for best-effort ones, between them
/// the less the more memory is requested. `capacity` is the node's memory in bytes, `floor` the lowest score the
/// machine may set (a node without CAP_SYS_RESOURCE cannot go below its own).
pub fn oom_score_adj(pod: &Pod, container: &Container, capacity: i64, floor: i64) -> i64 {
    const CRITICAL: i64 = -997;
    const NODE_CRITICAL_PRIORITY: i32 = 2_000_001_000;
    let Some(spec) = &pod.spec else { return 1000 };
    let score = if spec.priority.is_some_and(|p| p >= NODE_CRITICAL_PRIORITY) {
        CRITICAL
    } else {
        match qos(spec) {
            Qos::Guaranteed => CRITICAL,
            Qos::BestEffort => 1000,
            Qos::Burstable => {
                let r = container.resources.as_ref();
                let request = units_of(r.and_then(|r| r.requests.as_ref()), "memory")
                    .or_else(|| units_of(r.and_then(|r| r.limits.as_ref()), "memory"))
                    .unwrap_or(0);
                let used = i128::from(request) * 1000 / i128::from(capacity.max(1));
                let score = 1000 - i64::try_from(used).unwrap_or(1000);
                score.clamp(1000 + CRITICAL, 999)
            }
        }
    };
    score.max(floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PodSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn qos_needs_equal_requests_and_limits_of_every_container_to_be_guaranteed() {
        let of = |r: &[&str]| {
            let containers: Vec<_> = r
                .iter()
                .map(|r| format!(r#"{{"name":"c","resources":{r}}}"#))
                .collect();
            qos(&spec(&format!(r#"{{"containers":[{}]}}"#, containers.join(","))))
        };
        let full = r#"{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1000m","memory":"1024Mi"}}"#;
        assert_eq!(of(&[full, full]), Qos::Guaranteed);
        assert_eq!(of(&[r#"{"limits":{"cpu":"1","memory":"1Gi"}}"#]), Qos::Guaranteed);
        assert_eq!(of(&[full, "{}"]), Qos::Burstable);
        assert_eq!(of(&[r#"{"requests":{"cpu":"1"}}"#]), Qos::Burstable);
        assert_eq!(of(&[r#"{"limits":{"cpu":"1"}}"#]), Qos::Burstable);
        assert_eq!(of(&["{}", r#"{"requests":{"cpu":"0"}}"#]), Qos::BestEffort);
    }

    #[test]
    fn cpu_and_memory_become_shares_quota_and_bytes() {
        let r = |text: &str| container_resources(Some(&serde_json::from_str(text).unwrap()));
        assert_eq!(
            container_resources(None),
            LinuxResources {
                cpu_shares: 2,
                cpu_quota: 0,
                memory_limit: 0
            }
        );
        assert_eq!(
            r(r#"{"requests":{"cpu":"250m"},"limits":{"cpu":"500m","memory":"64Mi"}}"#),
            LinuxResources {
                cpu_shares: 256,
                cpu_quota: 50_000,
                memory_limit: 67_108_864
            }
        );
        assert_eq!(
            r(r#"{"limits":{"cpu":"1m"}}"#),
            LinuxResources {
                cpu_shares: 2,
                cpu_quota: 1000,
                memory_limit: 0
            }
        );
    }

    #[test]
    fn a_pods_request_is_the_highest_moment_of_its_life() {
        let s = spec(
            r#"{"initContainers":[{"name":"side","restartPolicy":"Always","resources":{"requests":{"cpu":"100m"}}},
                {"name":"init","resources":{"requests":{"cpu":"900m"}}}],
               "containers":[{"name":"a","resources":{"requests":{"cpu":"300m"}}},{"name":"b"}]}"#,
        );
        assert_eq!(pod_request(&s, "cpu"), 1000);
        assert_eq!(pod_limit(&s, "cpu"), None);
        assert_eq!(pod_resources(&s).cpu_quota, -1);
    }

    #[test]
    fn oom_scores_follow_the_class_and_never_go_below_the_floor() {
        let score = |text: &str, floor| {
            let pod = Pod {
                spec: Some(spec(text)),
                ..Default::default()
            };
            let container = pod.spec.as_ref().unwrap().containers[0].clone();
            oom_score_adj(&pod, &container, 4 << 30, floor)
        };
        let guaranteed = r#"{"containers":[{"name":"c","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}"#;
        assert_eq!(score(guaranteed, -1000), -997);
        assert_eq!(score(guaranteed, 0), 0);
        assert_eq!(score(r#"{"containers":[{"name":"c"}]}"#, -1000), 1000);
        assert_eq!(
            score(
                r#"{"containers":[{"name":"c","resources":{"requests":{"memory":"1Gi"}}}]}"#,
                -1000
            ),
            750
        );
        assert_eq!(
            score(
                r#"{"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]}"#,
                -1000
            ),
            999
        );
    }
}
