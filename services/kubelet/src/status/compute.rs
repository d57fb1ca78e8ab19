//! A pod's status from its specification and what the runtime shows: pure.
//!
//! Phases are those of Kubernetes' documentation "Pod Lifecycle". A pod that reached `Succeeded` or `Failed` stays
//! there. Statuses of containers that the runtime has forgotten keep what the API knew.

use super::conditions::conditions;
use super::containers::{Kind, status};
use crate::config::container::from_ephemeral;
use crate::k8s::{Container, ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus, Time};
use crate::observed::Observed;
use crate::plan::restarts;
use crate::resources::{is_restartable_init, qos};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};

/// What a status is computed from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The pod as it should be.
    pub pod: &'a Pod,
    /// What the runtime shows.
    pub observed: &'a Observed,
    /// The status last computed or read.
    pub previous: Option<&'a PodStatus>,
    /// Why containers wait, by name: reason and message.
    pub waiting: &'a HashMap<String, (String, String)>,
    /// Ids of instances that have started (startup probe passed).
    pub started: &'a HashSet<String>,
    /// Ids of instances that are ready.
    pub ready: &'a HashSet<String>,
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// When the kubelet took the pod on.
    pub start_time: Timestamp,
    /// The present moment.
    pub now: Timestamp,
    /// Nothing runs and nothing will: the pod ends now, in this phase if given (eviction, deadline, rejection).
    pub finished: bool,
    /// A phase with reason and message that the kubelet imposes.
    pub imposed: Option<&'a (String, String, String)>,
}

impl Inputs<'_> {
    pub(super) fn previous_container(&self, name: &str) -> Option<&ContainerStatus> {
        let p = self.previous?;
        let lists = [
            &p.init_container_statuses,
            &p.container_statuses,
            &p.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten().find(|c| c.name == name)
    }
}

/// The status.
pub fn compute(inputs: &Inputs<'_>) -> PodStatus {
    let Some(spec) = &inputs.pod.spec else {
        return PodStatus::default();
    };
    let list = |containers: &mut dyn Iterator<Item = Container>, kind: Kind| -> Vec<ContainerStatus> {
        containers.map(|c| status(inputs, &c, kind)).collect()
    };
    let mut init = list(&mut spec.init_containers.iter().flatten().cloned(), Kind::Init);
    let mut main = list(&mut spec.containers.iter().cloned(), Kind::Main);
    let ephemeral = list(
        &mut spec.ephemeral_containers.iter().flatten().map(from_ephemeral),
        Kind::Ephemeral,
    );
    let before = inputs
        .previous
        .and_then(|p| p.phase.as_deref())
        .unwrap_or_default();
    let mut phase = phase(spec, &init, &main);
    if inputs.finished {
        settle(&mut init);
        settle(&mut main);
        phase = finished_phase(&main, &init, spec);
    }
    if matches!(before, "Succeeded" | "Failed") {
        phase = if before == "Failed" { "Failed" } else { "Succeeded" };
    }
    let (mut reason, mut message) = (None, None);
    if let Some((imposed, why, text)) = inputs.imposed {
        phase = if imposed == "Failed" { "Failed" } else { phase };
        reason = Some(why.clone());
        message = Some(text.clone());
    }
    let host_network = spec.host_network == Some(true);
    let sandbox_ips = inputs
        .observed
        .sandbox()
        .map(|s| s.ips.clone())
        .unwrap_or_default();
    let ips: Vec<String> = if host_network && inputs.observed.sandbox().is_some() {
        inputs.host_ips.to_vec()
    } else if sandbox_ips.is_empty() {
        inputs
            .previous
            .and_then(|p| p.pod_ips.as_ref())
            .into_iter()
            .flatten()
            .map(|p| p.ip.clone())
            .collect()
    } else {
        sandbox_ips
    };
    let conditions = conditions(inputs, phase, &init, &main);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        reason,
        message,
        host_ip: inputs.host_ips.first().cloned(),
        host_ips: some(
            inputs
                .host_ips
                .iter()
                .map(|ip| HostIP { ip: ip.clone() })
                .collect(),
        ),
        pod_ip: ips.first().cloned(),
        pod_ips: some(ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: Some(Time(inputs.start_time)),
        qos_class: Some(
            inputs
                .pod
                .status
                .as_ref()
                .and_then(|s| s.qos_class.clone())
                .unwrap_or_else(|| qos(spec).as_str().to_owned()),
        ),
        observed_generation: inputs.pod.metadata.generation,
        init_container_statuses: some(init),
        container_statuses: some(main),
        ephemeral_container_statuses: some(ephemeral),
        ..Default::default()
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// A pod that ends leaves no container running in the API: what never ended is told so.
fn settle(list: &mut [ContainerStatus]) {
    for status in list {
        let state = status.state.clone().unwrap_or_default();
        status.ready &= state.terminated.is_some();
        if status.started.is_some() {
            status.started = Some(false);
        }
        if state.terminated.is_none() && (state.running.is_some() || status.container_id.is_some()) {
            let end = crate::k8s::ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                container_id: status.container_id.clone(),
                ..Default::default()
            };
            status.state = Some(crate::k8s::ContainerState {
                terminated: Some(end),
                ..Default::default()
            });
        }
    }
}

fn finished_phase(main: &[ContainerStatus], init: &[ContainerStatus], spec: &PodSpec) -> &'static str {
    let code = |s: &ContainerStatus| {
        s.state
            .as_ref()
            .and_then(|s| s.terminated.as_ref())
            .map(|t| t.exit_code)
    };
    let init_failed = init.iter().any(|s| {
        let sidecar = spec
            .init_containers
            .iter()
            .flatten()
            .any(|c| c.name == s.name && is_restartable_init(c));
        !sidecar && code(s).is_some_and(|c| c != 0)
    });
    if !init_failed && main.iter().all(|s| code(s) == Some(0)) {
        "Succeeded"
    } else {
        "Failed"
    }
}

fn phase(spec: &PodSpec, init: &[ContainerStatus], main: &[ContainerStatus]) -> &'static str {
    let (mut pending_init, mut failed_init) = (0, 0);
    let started = main.iter().any(|s| {
        s.state
            .as_ref()
            .is_some_and(|s| s.running.is_some() || s.terminated.is_some())
            || s.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    });
    for container in spec.init_containers.iter().flatten() {
        let state = init.iter().find(|s| s.name == container.name);
        let now = state.and_then(|s| s.state.as_ref());
        let ended = now.and_then(|s| s.terminated.as_ref());
        if is_restartable_init(container) {
            pending_init += i32::from(!started && state.is_none_or(|s| s.started != Some(true)));
        } else {
            match ended {
                Some(t) if t.exit_code == 0 => {}
                Some(t) if !restarts(spec, container, t.exit_code) => failed_init += 1,
                _ => pending_init += i32::from(!started),
            }
        }
    }
    let (mut waiting, mut running, mut stopped, mut succeeded, mut again) = (0, 0, 0, 0, 0);
    for container in &spec.containers {
        let Some(status) = main.iter().find(|s| s.name == container.name) else {
            waiting += 1;
            continue;
        };
        let state = status.state.clone().unwrap_or_default();
        if state.running.is_some() {
            running += 1;
        } else if let Some(end) = state.terminated {
            stopped += 1;
            succeeded += i32::from(end.exit_code == 0);
            again += i32::from(restarts(spec, container, end.exit_code));
        } else if status.last_state.as_ref().is_some_and(|s| s.terminated.is_some()) {
            stopped += 1;
            again += 1;
        } else {
            waiting += 1;
        }
    }
    if failed_init > 0 {
        "Failed"
    } else if pending_init > 0 || waiting > 0 {
        "Pending"
    } else if running > 0 || again > 0 {
        "Running"
    } else if stopped > 0 && stopped == succeeded {
        "Succeeded"
    } else if stopped > 0 {
        "Failed"
    } else {
        "Pending"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Instance, Sandbox, State};

    struct World {
        pod: Pod,
        observed: Observed,
        waiting: HashMap<String, (String, String)>,
        ids: HashSet<String>,
        ready: HashSet<String>,
        previous: Option<PodStatus>,
        finished: bool,
    }

    fn t(s: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + s).unwrap()
    }

    fn world(spec: &str) -> World {
        let text = format!(r#"{{"metadata":{{"name":"p","uid":"u","generation":3}},"spec":{spec}}}"#);
        World {
            pod: serde_json::from_str(&text).unwrap(),
            observed: Observed::default(),
            waiting: HashMap::new(),
            ids: HashSet::new(),
            ready: HashSet::new(),
            previous: None,
            finished: false,
        }
    }

    impl World {
        fn sandbox(mut self) -> Self {
            let s = Sandbox {
                id: "s".into(),
                attempt: 0,
                ready: true,
                ips: vec!["10.1.0.2".into()],
                created: t(0),
            };
            self.observed.sandboxes.push(s);
            self
        }
        fn instance(mut self, name: &str, attempt: u32, state: State, code: i32) -> Self {
            let id = format!("{name}{attempt}");
            self.ids.insert(id.clone());
            self.ready.insert(id.clone());
            self.observed.instances.push(Instance {
                id,
                sandbox_id: "s".into(),
                name: name.into(),
                attempt,
                state,
                created: t(i64::from(attempt)),
                started: Some(t(i64::from(attempt))),
                finished: (state == State::Exited).then(|| t(50)),
                exit_code: code,
                reason: String::new(),
                message: String::new(),
                image: "img:1".into(),
                image_id: "sha256:x".into(),
                hash: String::new(),
                log_path: String::new(),
                user: None,
                limits: None,
                message_path: String::new(),
                message_file: None,
                message_policy: String::new(),
            });
            self.observed.sort();
            self
        }
        fn status(&self) -> PodStatus {
            compute(&Inputs {
                pod: &self.pod,
                observed: &self.observed,
                previous: self.previous.as_ref(),
                waiting: &self.waiting,
                started: &self.ids,
                ready: &self.ready,
                host_ips: &["10.0.0.1".to_owned()],
                start_time: t(0),
                now: t(100),
                finished: self.finished,
                imposed: None,
            })
        }
    }

    fn condition(s: &PodStatus, kind: &str) -> (String, String) {
        let c = s
            .conditions
            .as_ref()
            .unwrap()
            .iter()
            .find(|c| c.type_ == kind)
            .unwrap();
        (c.status.clone(), c.reason.clone().unwrap_or_default())
    }

    #[test]
    fn a_pod_goes_from_pending_to_running_and_ready() {
        let spec = r#"{"initContainers":[{"name":"i"}],"containers":[{"name":"a","image":"x"}]}"#;
        let s = world(spec).status();
        assert_eq!(s.phase.as_deref(), Some("Pending"));
        let state = s.container_statuses.unwrap()[0].state.clone().unwrap();
        assert_eq!(state.waiting.unwrap().reason.as_deref(), Some("PodInitializing"));
        let s = world(spec)
            .sandbox()
            .instance("i", 0, State::Exited, 0)
            .instance("a", 0, State::Running, 0)
            .status();
        assert_eq!(s.phase.as_deref(), Some("Running"));
        assert_eq!(s.pod_ip.as_deref(), Some("10.1.0.2"));
        assert_eq!(s.observed_generation, Some(3));
        for kind in [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ] {
            assert_eq!(condition(&s, kind).0, "True", "{kind}");
        }
        let a = &s.container_statuses.unwrap()[0];
        assert!(a.ready && a.started == Some(true) && a.image == "img:1");
    }

    #[test]
    fn an_unready_container_makes_its_pod_unready_and_says_which() {
        let mut w = world(r#"{"containers":[{"name":"a"},{"name":"b"}]}"#)
            .sandbox()
            .instance("a", 0, State::Running, 0)
            .instance("b", 0, State::Running, 0);
        w.ready.remove("b0");
        let s = w.status();
        assert_eq!(
            condition(&s, "Ready"),
            ("False".into(), "ContainersNotReady".into())
        );
        let message = s
            .conditions
            .unwrap()
            .into_iter()
            .find(|c| c.type_ == "Ready")
            .unwrap()
            .message
            .unwrap();
        assert_eq!(message, "containers with unready status: [b]");
    }

    #[test]
    fn a_crash_loop_shows_why_it_waits_and_how_it_ended() {
        let mut w = world(r#"{"containers":[{"name":"a"}]}"#)
            .sandbox()
            .instance("a", 0, State::Exited, 1)
            .instance("a", 1, State::Exited, 2);
        w.waiting
            .insert("a".into(), ("CrashLoopBackOff".into(), "back-off 10s".into()));
        let s = w.status();
        assert_eq!(s.phase.as_deref(), Some("Running"));
        let a = &s.container_statuses.unwrap()[0];
        assert_eq!(a.restart_count, 1);
        assert_eq!(
            a.state
                .as_ref()
                .unwrap()
                .waiting
                .as_ref()
                .unwrap()
                .reason
                .as_deref(),
            Some("CrashLoopBackOff")
        );
        assert_eq!(
            a.last_state
                .as_ref()
                .unwrap()
                .terminated
                .as_ref()
                .unwrap()
                .exit_code,
            2
        );
    }

    #[test]
    fn pods_that_end_are_succeeded_or_failed_for_ever() {
        let never = r#"{"restartPolicy":"Never","containers":[{"name":"a"},{"name":"b"}]}"#;
        let ok = world(never)
            .sandbox()
            .instance("a", 0, State::Exited, 0)
            .instance("b", 0, State::Exited, 0);
        let s = ok.status();
        assert_eq!(s.phase.as_deref(), Some("Succeeded"));
        assert_eq!(condition(&s, "Ready"), ("False".into(), "PodCompleted".into()));
        assert_eq!(
            condition(&s, "Initialized"),
            ("True".into(), "PodCompleted".into())
        );
        let bad = world(never)
            .sandbox()
            .instance("a", 0, State::Exited, 3)
            .instance("b", 0, State::Exited, 0)
            .status();
        assert_eq!(bad.phase.as_deref(), Some("Failed"));
        let half = world(never)
            .sandbox()
            .instance("a", 0, State::Exited, 3)
            .instance("b", 0, State::Running, 0)
            .status();
        assert_eq!(half.phase.as_deref(), Some("Running"));
        let mut gone = world(never);
        gone.previous = Some(s);
        assert_eq!(
            gone.status().phase.as_deref(),
            Some("Succeeded"),
            "nothing in the runtime changes the past"
        );
    }

    #[test]
    fn init_failures_end_a_pod_only_if_it_never_restarts() {
        let of = |policy: &str| {
            world(&format!(r#"{{"restartPolicy":"{policy}","initContainers":[{{"name":"i"}}],"containers":[{{"name":"a"}}]}}"#))
                .sandbox()
                .instance("i", 0, State::Exited, 1)
                .status()
        };
        assert_eq!(of("Never").phase.as_deref(), Some("Failed"));
        assert_eq!(of("Always").phase.as_deref(), Some("Pending"));
        assert_eq!(
            condition(&of("Always"), "Initialized"),
            ("False".into(), "ContainersNotInitialized".into())
        );
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let mut w = world(r#"{"containers":[{"name":"a"}]}"#)
            .sandbox()
            .instance("a", 0, State::Running, 0);
        let mut first = w.status();
        for c in first.conditions.as_mut().unwrap() {
            c.last_transition_time = Some(Time(t(7)));
        }
        w.previous = Some(first);
        w.ready.clear();
        let s = w.status();
        let at = |kind: &str| {
            s.conditions
                .as_ref()
                .unwrap()
                .iter()
                .find(|c| c.type_ == kind)
                .unwrap()
                .last_transition_time
                .clone()
                .unwrap()
                .0
        };
        assert_eq!(at("Initialized"), t(7));
        assert_eq!(at("Ready"), t(100));
    }
}
