//! What to do next for a pod: a pure decision over its specification, what the runtime shows and what is remembered.
//!
//! The order is Kubernetes' (documentation "Init Containers", "Sidecar Containers", "Pod Lifecycle"): a sandbox, then
//! init containers one after another (a sidecar counts as passed when it has started), then all containers together.
//! The plan is made again after each step; it holds no more than what can be done now, and when to look again.

use crate::backoff::Backoff;
use crate::config::container::hash;
use crate::k8s::{Container, Pod, PodSpec};
use crate::observed::{Instance, Observed, State};
use crate::resources::is_restartable_init;
use jiff::Timestamp;
use std::collections::HashSet;

/// What is remembered about a pod besides what the runtime shows.
#[derive(Debug, Default)]
pub struct Memory {
    /// Ids of instances whose liveness or startup probe has failed, with which.
    pub unhealthy: HashSet<String>,
    /// Ids of instances that have passed their startup probe (or have none).
    pub started: HashSet<String>,
    /// Ids of instances whose postStart hook failed.
    pub hook_failed: HashSet<String>,
    /// Waits of containers, by name.
    pub backoff: Backoff,
    /// Containers whose start failed before there was an instance: when, by name.
    pub start_failed: std::collections::HashMap<String, Timestamp>,
}

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// Its specification changed.
    Changed,
    /// A liveness or startup probe failed.
    Unhealthy,
    /// Its postStart hook failed.
    HookFailed,
    /// The pod no longer needs it, or is over.
    NotNeeded,
    /// The runtime does not know its state.
    Unknown,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// End everything: containers, then the sandbox.
    pub kill_pod: bool,
    /// Make a sandbox, as this try.
    pub create_sandbox: Option<u32>,
    /// Containers to start now, by name.
    pub start: Vec<String>,
    /// Instances to stop: (id, name, why).
    pub kill: Vec<(String, String, KillReason)>,
    /// Containers that wait for their next try, until when.
    pub waiting: Vec<(String, Timestamp)>,
}

impl Plan {
    /// Whether there is nothing to do now.
    pub fn is_idle(&self) -> bool {
        !self.kill_pod && self.create_sandbox.is_none() && self.start.is_empty() && self.kill.is_empty()
    }
}

/// A pod's restart policy for a container that ended with `exit_code`: its own rules first, then its own policy, then
/// the pod's.
pub fn restarts(spec: &PodSpec, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|v| *v == exit_code);
        let matches = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches {
            return rule.action == "Restart";
        }
    }
    let pod = spec.restart_policy.as_deref().unwrap_or("Always");
    match container.restart_policy.as_deref().unwrap_or(pod) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether an init container of ordinary kind is tried again after `exit_code`.
fn init_restarts(spec: &PodSpec, container: &Container, exit_code: i32) -> bool {
    exit_code != 0 && restarts(spec, container, exit_code)
}

/// Decides. `now` is used for waits only.
pub fn plan(pod: &Pod, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let Some(spec) = &pod.spec else {
        return Plan::default();
    };
    let mut plan = Plan::default();
    let Some(_sandbox) = observed.ready_sandbox() else {
        return plan_sandbox(spec, observed);
    };
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    // Once any container proper exists in this sandbox, ordinary init containers are history.
    let initialized = spec
        .containers
        .iter()
        .any(|c| observed.current(&c.name).is_some());
    let go_on = plan_init(spec, inits, observed, memory, now, initialized, &mut plan);
    for ephemeral in spec.ephemeral_containers.iter().flatten() {
        if observed.newest(&ephemeral.name).is_none() {
            let wait = memory.start_failed.get(&ephemeral.name);
            match wait.and_then(|at| memory.backoff.until(&ephemeral.name, *at, now)) {
                Some(until) => plan.waiting.push((ephemeral.name.clone(), until)),
                None => plan.start.push(ephemeral.name.clone()),
            }
        }
    }
    if !go_on {
        return plan;
    }
    let mut keep = 0;
    for container in &spec.containers {
        match observed.current(&container.name) {
            Some(instance) if instance.running() => {
                if let Some(reason) = outdated(container, instance, memory) {
                    plan.kill
                        .push((instance.id.clone(), container.name.clone(), reason));
                    // After a failed probe a pod that never restarts is over with this container.
                    keep += i32::from(restarts(spec, container, 137) || reason == KillReason::Changed);
                } else {
                    keep += 1;
                }
            }
            Some(instance) if instance.state == State::Unknown => {
                plan.kill
                    .push((instance.id.clone(), container.name.clone(), KillReason::Unknown));
                keep += 1;
            }
            // Made but not started: the start failed, or is under way elsewhere.
            Some(instance) if instance.state == State::Created => {
                keep += 1;
                start_or_wait(&container.name, instance.created, memory, now, &mut plan);
            }
            Some(instance) => {
                if restarts(spec, container, instance.exit_code) {
                    keep += 1;
                    start_or_wait(
                        &container.name,
                        instance.finished.unwrap_or(instance.created),
                        memory,
                        now,
                        &mut plan,
                    );
                }
            }
            None => {
                keep += 1;
                let since = memory.start_failed.get(&container.name).copied();
                start_or_wait(
                    &container.name,
                    since.unwrap_or(Timestamp::UNIX_EPOCH),
                    memory,
                    now,
                    &mut plan,
                );
            }
        }
    }
    if keep == 0 {
        // All containers are done: sidecars and the sandbox go too.
        plan.kill_pod = true;
        plan.start.clear();
        plan.waiting.clear();
    }
    plan
}

fn start_or_wait(name: &str, since: Timestamp, memory: &Memory, now: Timestamp, plan: &mut Plan) {
    let since = memory
        .start_failed
        .get(name)
        .copied()
        .map_or(since, |failed| failed.max(since));
    match memory.backoff.until(name, since, now) {
        Some(until) => plan.waiting.push((name.to_owned(), until)),
        None => plan.start.push(name.to_owned()),
    }
}

fn outdated(container: &Container, instance: &Instance, memory: &Memory) -> Option<KillReason> {
    if !instance.hash.is_empty() && instance.hash != hash(container) {
        Some(KillReason::Changed)
    } else if memory.unhealthy.contains(&instance.id) {
        Some(KillReason::Unhealthy)
    } else if memory.hook_failed.contains(&instance.id) {
        Some(KillReason::HookFailed)
    } else {
        None
    }
}

/// Without a ready sandbox: is one needed?
fn plan_sandbox(spec: &PodSpec, observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let attempt = observed.sandbox().map_or(0, |s| s.attempt + 1);
    let ran_before = !observed.instances.is_empty();
    if ran_before {
        if is_over(spec, observed) {
            plan.kill_pod = observed.anything_running();
            return plan;
        }
        let never = spec.restart_policy.as_deref() == Some("Never");
        let any_rule = spec.containers.iter().any(|c| c.restart_policy.is_some());
        if never && !any_rule && spec.containers.iter().any(|c| observed.newest(&c.name).is_some()) {
            // A pod that never restarts does not get a second sandbox once its containers ran.
            plan.kill_pod = observed.anything_running();
            return plan;
        }
    }
    plan.kill_pod = observed.anything_running();
    plan.create_sandbox = Some(attempt);
    plan
}

/// Whether no container of the pod will run again, whatever sandbox there is.
pub fn is_over(spec: &PodSpec, observed: &Observed) -> bool {
    let ended = |c: &Container| {
        observed
            .newest(&c.name)
            .is_some_and(|i| i.state == State::Exited && !restarts(spec, c, i.exit_code))
    };
    if spec.containers.iter().all(ended) {
        return true;
    }
    // A failed init container of a pod that does not retry ends the pod.
    spec.init_containers
        .iter()
        .flatten()
        .filter(|c| !is_restartable_init(c))
        .any(|c| {
            observed.newest(&c.name).is_some_and(|i| {
                i.state == State::Exited && i.exit_code != 0 && !init_restarts(spec, c, i.exit_code)
            })
        })
        && spec
            .containers
            .iter()
            .all(|c| observed.newest(&c.name).is_none_or(|i| i.state == State::Exited))
}

/// Init containers in order. Returns whether the containers proper may run.
fn plan_init(
    spec: &PodSpec,
    inits: &[Container],
    observed: &Observed,
    memory: &Memory,
    now: Timestamp,
    initialized: bool,
    plan: &mut Plan,
) -> bool {
    for (i, container) in inits.iter().enumerate() {
        let current = observed.current(&container.name);
        let sidecar = is_restartable_init(container);
        // A later one exists, so this one was passed before.
        let passed = initialized || inits[i + 1..].iter().any(|c| observed.current(&c.name).is_some());
        if sidecar {
            match current {
                Some(instance) if instance.running() => {
                    if let Some(reason) = outdated(container, instance, memory) {
                        plan.kill
                            .push((instance.id.clone(), container.name.clone(), reason));
                    }
                    if !passed && !memory.started.contains(&instance.id) {
                        return false;
                    }
                }
                Some(instance) if instance.state == State::Unknown => {
                    plan.kill
                        .push((instance.id.clone(), container.name.clone(), KillReason::Unknown));
                    if !passed {
                        return false;
                    }
                }
                other => {
                    let since = other.map_or(Timestamp::UNIX_EPOCH, |i| i.finished.unwrap_or(i.created));
                    start_or_wait(&container.name, since, memory, now, plan);
                    if !passed {
                        return false;
                    }
                }
            }
            continue;
        }
        if passed {
            // A pod that was initialized runs no ordinary init container again in this sandbox.
            if initialized {
                continue;
            }
            if current.is_none_or(Instance::succeeded) {
                continue;
            }
        }
        match current {
            Some(instance) if instance.succeeded() => {}
            Some(instance) if instance.running() => {
                if let Some(reason @ KillReason::Changed) = outdated(container, instance, memory) {
                    plan.kill
                        .push((instance.id.clone(), container.name.clone(), reason));
                }
                return false;
            }
            Some(instance) if instance.state == State::Exited => {
                if init_restarts(spec, container, instance.exit_code) {
                    start_or_wait(
                        &container.name,
                        instance.finished.unwrap_or(instance.created),
                        memory,
                        now,
                        plan,
                    );
                } else {
                    plan.kill_pod = true;
                    plan.start.clear();
                }
                return false;
            }
            Some(instance) if instance.state == State::Unknown => {
                plan.kill
                    .push((instance.id.clone(), container.name.clone(), KillReason::Unknown));
                return false;
            }
            other => {
                let since = other.map_or(Timestamp::UNIX_EPOCH, |i| i.created);
                start_or_wait(&container.name, since, memory, now, plan);
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::Sandbox;

    fn t(s: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + s).unwrap()
    }

    fn pod(spec: &str) -> Pod {
        serde_json::from_str(&format!(
            r#"{{"metadata":{{"name":"p","uid":"u"}},"spec":{spec}}}"#
        ))
        .unwrap()
    }

    fn instance(name: &str, state: State, exit_code: i32, attempt: u32) -> Instance {
        Instance {
            id: format!("{name}-{attempt}"),
            sandbox_id: "s0".into(),
            name: name.into(),
            attempt,
            state,
            created: t(i64::from(attempt)),
            started: None,
            finished: (state == State::Exited).then(|| t(100)),
            exit_code,
            reason: String::new(),
            message: String::new(),
            image: String::new(),
            image_id: String::new(),
            hash: String::new(),
            log_path: String::new(),
            user: None,
            limits: None,
            message_path: String::new(),
            message_file: None,
            message_policy: String::new(),
        }
    }

    fn seen(instances: Vec<Instance>) -> Observed {
        let sandbox = Sandbox {
            id: "s0".into(),
            attempt: 0,
            ready: true,
            ips: vec![],
            created: t(0),
        };
        let mut o = Observed {
            sandboxes: vec![sandbox],
            instances,
        };
        o.sort();
        o
    }

    fn decide(spec: &str, o: &Observed, m: &Memory) -> Plan {
        plan(&pod(spec), o, m, t(200))
    }

    #[test]
    fn a_new_pod_gets_a_sandbox_then_all_its_containers_at_once() {
        let spec = r#"{"containers":[{"name":"a"},{"name":"b"}]}"#;
        let m = Memory::default();
        assert_eq!(decide(spec, &Observed::default(), &m).create_sandbox, Some(0));
        assert_eq!(decide(spec, &seen(vec![]), &m).start, ["a", "b"]);
        let running = seen(vec![
            instance("a", State::Running, 0, 0),
            instance("b", State::Running, 0, 0),
        ]);
        assert!(decide(spec, &running, &m).is_idle());
    }

    #[test]
    fn init_containers_run_one_after_another_and_sidecars_count_when_started() {
        let spec = r#"{"initContainers":[{"name":"i1"},{"name":"side","restartPolicy":"Always"},{"name":"i2"}],
                       "containers":[{"name":"a"}]}"#;
        let mut m = Memory::default();
        assert_eq!(decide(spec, &seen(vec![]), &m).start, ["i1"]);
        let mut list = vec![instance("i1", State::Exited, 0, 0)];
        assert_eq!(decide(spec, &seen(list.clone()), &m).start, ["side"]);
        list.push(instance("side", State::Running, 0, 0));
        assert!(
            decide(spec, &seen(list.clone()), &m).is_idle(),
            "the sidecar has not started yet"
        );
        m.started.insert("side-0".into());
        assert_eq!(decide(spec, &seen(list.clone()), &m).start, ["i2"]);
        list.push(instance("i2", State::Exited, 0, 0));
        assert_eq!(decide(spec, &seen(list.clone()), &m).start, ["a"]);
        list.push(instance("a", State::Running, 0, 0));
        list[1] = instance("side", State::Exited, 1, 0);
        assert_eq!(
            decide(spec, &seen(list), &m).start,
            ["side"],
            "a dead sidecar is started again"
        );
    }

    #[test]
    fn restart_policies_decide_what_an_exit_means() {
        let m = Memory::default();
        let spec = |policy: &str| format!(r#"{{"restartPolicy":"{policy}","containers":[{{"name":"a"}}]}}"#);
        let ended = |code| seen(vec![instance("a", State::Exited, code, 0)]);
        assert_eq!(decide(&spec("Always"), &ended(0), &m).start, ["a"]);
        assert_eq!(decide(&spec("OnFailure"), &ended(1), &m).start, ["a"]);
        assert!(decide(&spec("OnFailure"), &ended(0), &m).kill_pod);
        assert!(decide(&spec("Never"), &ended(1), &m).kill_pod);
        let ruled = r#"{"restartPolicy":"Never","containers":[{"name":"a","restartPolicy":"Never",
            "restartPolicyRules":[{"action":"Restart","exitCodes":{"operator":"In","values":[42]}}]}]}"#;
        assert_eq!(decide(ruled, &ended(42), &m).start, ["a"]);
        assert!(decide(ruled, &ended(1), &m).kill_pod);
    }

    #[test]
    fn a_crashing_container_waits_from_its_end() {
        let spec = r#"{"containers":[{"name":"a"}]}"#;
        let mut m = Memory::default();
        m.backoff.next("a", t(95));
        let o = seen(vec![instance("a", State::Exited, 1, 0)]);
        assert_eq!(
            plan(&pod(spec), &o, &m, t(105)).waiting,
            [("a".to_owned(), t(110))]
        );
        assert_eq!(plan(&pod(spec), &o, &m, t(110)).start, ["a"]);
    }

    #[test]
    fn a_pod_that_is_over_gets_no_new_sandbox() {
        let m = Memory::default();
        let mut o = seen(vec![instance("a", State::Exited, 0, 0)]);
        o.sandboxes[0].ready = false;
        assert!(decide(r#"{"restartPolicy":"Never","containers":[{"name":"a"}]}"#, &o, &m).is_idle());
        let again = decide(r#"{"containers":[{"name":"a"}]}"#, &o, &m);
        assert_eq!(again.create_sandbox, Some(1));
        assert!(
            !decide(
                r#"{"restartPolicy":"Never","containers":[{"name":"b"},{"name":"a"}]}"#,
                &o,
                &m
            )
            .kill_pod
        );
    }

    #[test]
    fn a_failed_init_container_ends_a_pod_that_never_restarts() {
        let m = Memory::default();
        let spec = |policy: &str| {
            format!(
                r#"{{"restartPolicy":"{policy}","initContainers":[{{"name":"i"}}],"containers":[{{"name":"a"}}]}}"#
            )
        };
        let mut o = seen(vec![instance("i", State::Exited, 1, 0)]);
        assert!(decide(&spec("Never"), &o, &m).kill_pod);
        assert_eq!(decide(&spec("Always"), &o, &m).start, ["i"]);
        o.sandboxes[0].ready = false;
        assert!(decide(&spec("Never"), &o, &m).is_idle());
    }

    #[test]
    fn a_container_that_was_never_started_goes_with_its_sandbox() {
        let mut o = seen(vec![instance("a", State::Created, 0, 0)]);
        assert!(o.anything_running());
        o.sandboxes[0].ready = false;
        assert!(!o.anything_running());
    }

    #[test]
    fn an_end_seen_before_the_start_was_reported_is_not_forgotten() {
        let mut o = seen(vec![instance("a", State::Exited, 1, 0)]);
        o.add_instance(instance("a", State::Running, 0, 0));
        let spec = r#"{"containers":[{"name":"a"}]}"#;
        assert_eq!(decide(spec, &o, &Memory::default()).start, ["a"]);
        o.add_instance(instance("a", State::Running, 0, 1));
        assert!(decide(spec, &o, &Memory::default()).is_idle());
    }

    #[test]
    fn an_unhealthy_or_changed_container_is_stopped() {
        let mut m = Memory::default();
        m.unhealthy.insert("a-0".into());
        let mut changed = instance("b", State::Running, 0, 0);
        changed.hash = "old".into();
        let o = seen(vec![instance("a", State::Running, 0, 0), changed]);
        let p = decide(r#"{"containers":[{"name":"a"},{"name":"b"}]}"#, &o, &m);
        assert_eq!(p.kill[0].2, KillReason::Unhealthy);
        assert_eq!(p.kill[1].2, KillReason::Changed);
        assert!(!p.kill_pod);
    }
}
