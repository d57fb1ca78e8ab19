//! Container statuses: state, last state, restarts, readiness.

use super::compute::Inputs;
use crate::k8s::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, ResourceRequirements, Time,
};
use crate::observed::{Instance, State};
use crate::plan::restarts;
use crate::resources::is_restartable_init;

/// Which list a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `initContainers`
    Init,
    /// `containers`
    Main,
    /// `ephemeralContainers`
    Ephemeral,
}

/// The id as the API shows it.
pub fn container_id(id: &str) -> String {
    format!("containerd://{id}")
}

fn waiting(reason: &str, message: Option<&str>) -> ContainerState {
    let message = message.filter(|m| !m.is_empty()).map(str::to_owned);
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..Default::default()
    }
}

fn terminated(i: &Instance) -> ContainerStateTerminated {
    let reason = if i.reason.is_empty() {
        if i.exit_code == 0 { "Completed" } else { "Error" }.to_owned()
    } else {
        i.reason.clone()
    };
    ContainerStateTerminated {
        container_id: Some(container_id(&i.id)),
        exit_code: i.exit_code,
        reason: Some(reason),
        message: (!i.message.is_empty()).then(|| i.message.clone()),
        started_at: i.started.or(Some(i.created)).map(Time),
        finished_at: i.finished.map(Time),
        signal: None,
    }
}

/// The status of one container.
pub fn status(inputs: &Inputs<'_>, container: &Container, kind: Kind) -> ContainerStatus {
    let spec = inputs.pod.spec.as_ref();
    let has_init = spec.is_some_and(|s| s.init_containers.as_ref().is_some_and(|i| !i.is_empty()));
    let default_reason = if has_init && kind == Kind::Main {
        "PodInitializing"
    } else {
        "ContainerCreating"
    };
    let mut history = inputs.observed.of(&container.name);
    let newest = history.next();
    let before = history.next();
    let previous = inputs.previous_container(&container.name);
    let mut out = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(default_reason, None)),
        // An instance may be gone from the runtime while the API still knows it.
        last_state: previous
            .and_then(|p| p.last_state.clone())
            .or_else(|| Some(ContainerState::default())),
        restart_count: previous.map_or(0, |p| p.restart_count),
        started: (kind != Kind::Ephemeral).then_some(false),
        resources: container
            .resources
            .clone()
            .filter(|r| *r != ResourceRequirements::default()),
        allocated_resources: container
            .resources
            .as_ref()
            .and_then(|r| r.requests.clone())
            .filter(|r| !r.is_empty()),
        volume_mounts: mounts(container),
        ..Default::default()
    };
    if let Some(instance) = newest {
        fill(inputs, container, kind, instance, before, &mut out);
    }
    // A start that failed, a pull that failed, a wait: what the container is waiting for.
    if let Some((reason, message)) = inputs.waiting.get(&container.name)
        && !inputs.finished
    {
        let shows_end = out.state.as_ref().is_some_and(|s| s.terminated.is_some());
        let running = out.state.as_ref().is_some_and(|s| s.running.is_some());
        let may_restart = newest.is_none_or(|i| spec.is_some_and(|s| will_restart(s, container, kind, i)));
        if !running && may_restart {
            if shows_end {
                out.last_state = out.state.take();
            }
            out.state = Some(waiting(reason, Some(message)));
        }
    }
    out.ready = ready(inputs, container, kind, newest, &out);
    out
}

fn will_restart(spec: &crate::k8s::PodSpec, container: &Container, kind: Kind, i: &Instance) -> bool {
    match kind {
        Kind::Ephemeral => false,
        Kind::Init if !is_restartable_init(container) => {
            i.state != State::Exited || (i.exit_code != 0 && restarts(spec, container, i.exit_code))
        }
        _ => i.state != State::Exited || restarts(spec, container, i.exit_code),
    }
}

fn fill(
    inputs: &Inputs<'_>,
    container: &Container,
    kind: Kind,
    i: &Instance,
    before: Option<&Instance>,
    out: &mut ContainerStatus,
) {
    out.container_id = Some(container_id(&i.id));
    out.restart_count = i32::try_from(i.attempt).unwrap_or(i32::MAX);
    if !i.image.is_empty() && !i.image.starts_with("sha256:") {
        out.image.clone_from(&i.image);
    }
    out.image_id.clone_from(&i.image_id);
    out.state = Some(match i.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: i.started.or(Some(i.created)).map(Time),
            }),
            ..Default::default()
        },
        State::Exited => ContainerState {
            terminated: Some(terminated(i)),
            ..Default::default()
        },
        State::Created => waiting("ContainerCreating", None),
        State::Unknown => {
            let end = ContainerStateTerminated {
                exit_code: 137,
                reason: Some("ContainerStatusUnknown".to_owned()),
                message: Some("The container could not be located when the pod was terminated".to_owned()),
                ..terminated(i)
            };
            ContainerState {
                terminated: Some(end),
                ..Default::default()
            }
        }
    });
    if let Some(before) = before.filter(|b| b.state == State::Exited) {
        out.last_state = Some(ContainerState {
            terminated: Some(terminated(before)),
            ..Default::default()
        });
    }
    out.user = i.user.as_ref().map(|(uid, gid, groups)| ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: *uid,
            gid: *gid,
            supplemental_groups: Some(groups.clone()).filter(|g| !g.is_empty()),
        }),
    });
    if kind != Kind::Ephemeral {
        let probed = kind == Kind::Main || is_restartable_init(container);
        out.started = Some(i.running() && probed && inputs.started.contains(&i.id) || i.running() && !probed);
    }
}

fn ready(
    inputs: &Inputs<'_>,
    container: &Container,
    kind: Kind,
    newest: Option<&Instance>,
    out: &ContainerStatus,
) -> bool {
    let ended_well = out
        .state
        .as_ref()
        .and_then(|s| s.terminated.as_ref())
        .is_some_and(|t| t.exit_code == 0);
    match kind {
        Kind::Ephemeral => false,
        Kind::Init if !is_restartable_init(container) => ended_well,
        _ => newest
            .is_some_and(|i| i.running() && inputs.started.contains(&i.id) && inputs.ready.contains(&i.id)),
    }
}

fn mounts(container: &Container) -> Option<Vec<crate::k8s::VolumeMountStatus>> {
    let list: Vec<_> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| crate::k8s::VolumeMountStatus {
            name: m.name.clone(),
            mount_path: m.mount_path.clone(),
            read_only: m.read_only.filter(|r| *r),
            recursive_read_only: m.read_only.filter(|r| *r).map(|_| "Disabled".to_owned()),
            ..Default::default()
        })
        .collect();
    (!list.is_empty()).then_some(list)
}
