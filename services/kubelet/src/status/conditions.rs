//! Pod conditions: the five a kubelet owns, and when each last changed.

use super::compute::Inputs;
use crate::k8s::{ContainerStatus, PodCondition, PodSpec, Time};
use crate::resources::is_restartable_init;

/// The conditions that a kubelet writes; all others belong to someone else and are left alone.
pub const OWNED: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Self {
        Self {
            status: true,
            reason: "",
            message: String::new(),
        }
    }
    fn yes_because(reason: &'static str) -> Self {
        Self {
            status: true,
            reason,
            message: String::new(),
        }
    }
    fn no(reason: &'static str, message: String) -> Self {
        Self {
            status: false,
            reason,
            message,
        }
    }
}

/// The owned conditions of a pod in `phase`.
pub fn conditions(
    inputs: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Vec<PodCondition> {
    let Some(spec) = &inputs.pod.spec else {
        return Vec::new();
    };
    let containers_ready = containers_ready(spec, phase, init, main);
    let verdicts = [
        ("PodReadyToStartContainers", sandbox_ready(inputs, spec)),
        ("Initialized", initialized(spec, phase, init, main)),
        ("Ready", ready(inputs, spec, phase, &containers_ready)),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Verdict::yes()),
    ];
    verdicts
        .into_iter()
        .map(|(kind, v)| condition(inputs, kind, v))
        .collect()
}

fn condition(inputs: &Inputs<'_>, kind: &str, v: Verdict) -> PodCondition {
    let status = if v.status { "True" } else { "False" };
    let before = inputs
        .previous
        .and_then(|p| p.conditions.as_ref())
        .into_iter()
        .flatten()
        .find(|c| c.type_ == kind);
    let same = before.filter(|b| b.status == status);
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: (!v.reason.is_empty()).then(|| v.reason.to_owned()),
        message: (!v.message.is_empty()).then_some(v.message),
        last_transition_time: same
            .and_then(|b| b.last_transition_time.clone())
            .or(Some(Time(inputs.now))),
        last_probe_time: None,
        observed_generation: inputs.pod.metadata.generation,
    }
}

fn sandbox_ready(inputs: &Inputs<'_>, spec: &PodSpec) -> Verdict {
    let host = spec.host_network == Some(true);
    let ready = inputs
        .observed
        .ready_sandbox()
        .is_some_and(|s| host || !s.ips.is_empty());
    Verdict {
        status: ready,
        reason: "",
        message: String::new(),
    }
}

fn initialized(spec: &PodSpec, phase: &str, init: &[ContainerStatus], main: &[ContainerStatus]) -> Verdict {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    if phase == "Succeeded" {
        return Verdict::yes_because("PodCompleted");
    }
    // Once a container proper has run, the pod was initialized, whatever its sidecars do now.
    let ran = |s: &ContainerStatus| {
        let state = s.state.as_ref();
        state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
            || s.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    };
    if main.iter().any(ran) {
        return Verdict::yes();
    }
    let incomplete: Vec<&str> = inits
        .iter()
        .filter(|c| {
            let status = init.iter().find(|s| s.name == c.name);
            !status.is_some_and(|s| {
                if is_restartable_init(c) {
                    s.started == Some(true)
                } else {
                    s.ready
                }
            })
        })
        .map(|c| c.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::no("ContainersNotInitialized", message)
}

fn containers_ready(
    spec: &PodSpec,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
) -> Verdict {
    match phase {
        "Succeeded" => return Verdict::no("PodCompleted", String::new()),
        "Failed" => return Verdict::no("PodFailed", String::new()),
        _ => {}
    }
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| is_restartable_init(c))
        .map(|c| (&c.name, init));
    let containers = spec.containers.iter().map(|c| (&c.name, main));
    let (mut unready, mut unknown) = (Vec::new(), Vec::new());
    for (name, statuses) in sidecars.chain(containers) {
        match statuses.iter().find(|s| s.name == *name) {
            None => unknown.push(name.as_str()),
            Some(s) if !s.ready => unready.push(name.as_str()),
            Some(_) => {}
        }
    }
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !unready.is_empty() {
        parts.push(format!("containers with unready status: [{}]", unready.join(" ")));
    }
    if parts.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ContainersNotReady", parts.join(", "))
    }
}

fn ready(inputs: &Inputs<'_>, spec: &PodSpec, phase: &str, containers: &Verdict) -> Verdict {
    if !containers.status {
        let reason = match phase {
            "Succeeded" => "PodCompleted",
            "Failed" => "PodFailed",
            _ => containers.reason,
        };
        return Verdict::no(reason, containers.message.clone());
    }
    let live = inputs.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    let mut messages = Vec::new();
    for gate in spec.readiness_gates.iter().flatten() {
        match live
            .into_iter()
            .flatten()
            .find(|c| c.type_ == gate.condition_type)
        {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                gate.condition_type
            )),
            Some(c) if c.status != "True" => messages.push(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, c.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", messages.join(", "))
    }
}
