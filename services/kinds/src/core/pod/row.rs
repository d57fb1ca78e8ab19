//! What `kubectl get pods` shows: readiness, the reason of the state, restarts.

use jiff::Timestamp;
use machinery::Value;

use crate::Cx;
use crate::table::{age, human_duration, name, or_none, parse_time};

fn is_true(conditions: &[Value], kind: &str) -> bool {
    conditions
        .iter()
        .find(|c| c["type"].as_str() == Some(kind))
        .is_some_and(|c| c["status"].as_str() == Some("True"))
}

/// Restarts of some containers and when the last of them happened.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += status["restartCount"].as_i64().unwrap_or(0);
        let finished = parse_time(status.at(&["lastState", "terminated", "finishedAt"]));
        self.last = self.last.max(finished);
    }
}

/// The word for a container that ended, with `prefix` before it.
fn ended(terminated: &Value, prefix: &str) -> String {
    let signal = terminated["signal"].as_i64().unwrap_or(0);
    match terminated["reason"].as_str() {
        Some(reason) if !reason.is_empty() => format!("{prefix}{reason}"),
        _ if signal != 0 => format!("{prefix}Signal:{signal}"),
        _ => format!(
            "{prefix}ExitCode:{}",
            terminated["exitCode"].as_i64().unwrap_or(0)
        ),
    }
}

pub(super) fn cells(pod: &Value, cx: &Cx<'_>) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let conditions = status.list_at(&["conditions"]);
    let init_containers = spec.list_at(&["initContainers"]);
    let is_sidecar = |name: &Value| {
        init_containers
            .iter()
            .any(|c| c["name"] == *name && c["restartPolicy"].as_str() == Some("Always"))
    };
    let sidecars = init_containers
        .iter()
        .filter(|c| c["restartPolicy"].as_str() == Some("Always"))
        .count();
    let total = spec.list_at(&["containers"]).len() + sidecars;
    let phase = status["phase"].as_str().unwrap_or_default();

    let mut reason = status["reason"]
        .as_str()
        .filter(|r| !r.is_empty())
        .unwrap_or(phase)
        .to_owned();
    for c in conditions {
        if c["type"].as_str() == Some("PodScheduled") && c["reason"].as_str() == Some("SchedulingGated") {
            reason = "SchedulingGated".into();
        }
    }

    let (mut ready, mut restarts, mut sidecar_restarts) = (0, Restarts::default(), Restarts::default());
    let mut initializing = false;
    for (i, container) in status.list_at(&["initContainerStatuses"]).iter().enumerate() {
        restarts.add(container);
        let sidecar = is_sidecar(&container["name"]);
        if sidecar {
            sidecar_restarts.add(container);
        }
        let terminated = container.at(&["state", "terminated"]);
        let waiting = container
            .str_at(&["state", "waiting", "reason"])
            .unwrap_or_default();
        if !terminated.is_null() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && container["started"].as_bool() == Some(true) {
            ready += usize::from(container["ready"].as_bool() == Some(true));
            continue;
        }
        reason = if !terminated.is_null() {
            ended(terminated, "Init:")
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", init_containers.len())
        };
        initializing = true;
        break;
    }

    if !initializing || is_true(conditions, "Initialized") {
        restarts = sidecar_restarts;
        let mut running = false;
        let mut error = String::new();
        for container in status.list_at(&["containerStatuses"]).iter().rev() {
            restarts.add(container);
            let terminated = container.at(&["state", "terminated"]);
            let waiting = container
                .str_at(&["state", "waiting", "reason"])
                .unwrap_or_default();
            if !waiting.is_empty() {
                reason = waiting.to_owned();
            } else if !terminated.is_null() {
                reason = ended(terminated, "");
                if terminated["exitCode"].as_i64().unwrap_or(0) != 0 {
                    error.clone_from(&reason);
                }
            } else if container["ready"].as_bool() == Some(true)
                && !container.at(&["state", "running"]).is_null()
            {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" {
            if running && is_true(conditions, "Ready") {
                reason = "Running".into();
            } else if !error.is_empty() {
                reason = error;
            } else if running {
                reason = "NotReady".into();
            }
        }
    }

    if !pod.at(&["metadata", "deletionTimestamp"]).is_null() {
        if status["reason"].as_str() == Some("NodeLost") {
            reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".into();
        }
    }

    let restarts = match restarts.last {
        Some(last) if restarts.count != 0 => {
            let ago = human_duration(cx.now.as_second() - last.as_second());
            format!("{} ({ago} ago)", restarts.count)
        }
        _ => restarts.count.to_string(),
    };
    let ip = status
        .list_at(&["podIPs"])
        .first()
        .and_then(|ip| ip["ip"].as_str());
    let ip = ip.or(status["podIP"].as_str()).unwrap_or_default();
    vec![
        name(pod),
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        age(pod, cx),
        or_none(ip),
        or_none(spec["nodeName"].as_str().unwrap_or_default()),
        or_none(status["nominatedNodeName"].as_str().unwrap_or_default()),
        readiness_gates(spec, conditions),
    ]
}

fn readiness_gates(spec: &Value, conditions: &[Value]) -> Value {
    let gates = spec.list_at(&["readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let open = gates
        .iter()
        .filter(|g| {
            g["conditionType"]
                .as_str()
                .is_some_and(|t| is_true(conditions, t))
        })
        .count();
    format!("{open}/{}", gates.len()).into()
}
