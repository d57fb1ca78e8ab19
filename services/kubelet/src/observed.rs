//! What the runtime says about one pod: its sandboxes and the instances of its containers, newest first.
//!
//! Built from CRI answers and from nothing else, so that a kubelet that was restarted sees the same pod.

use crate::names;
use cri::v1::{ContainerState as CriState, ContainerStatus, PodSandboxState, PodSandboxStatus};
use jiff::Timestamp;

/// The state of one instance of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Runs.
    Running,
    /// Has ended.
    Exited,
    /// The runtime does not know.
    Unknown,
}

/// One instance of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// The runtime's id.
    pub id: String,
    /// The sandbox it belongs to.
    pub sandbox_id: String,
    /// The container's name in the pod.
    pub name: String,
    /// How often the container was restarted before this instance.
    pub attempt: u32,
    /// Its state.
    pub state: State,
    /// When it was made.
    pub created: Timestamp,
    /// When it was started, if it was.
    pub started: Option<Timestamp>,
    /// When it ended, if it has.
    pub finished: Option<Timestamp>,
    /// Its exit code, if it has ended.
    pub exit_code: i32,
    /// The runtime's reason (`Completed`, `Error`, `OOMKilled`, `StartError`).
    pub reason: String,
    /// The runtime's or the program's last words.
    pub message: String,
    /// The image as the pod names it.
    pub image: String,
    /// The image as the runtime identifies it.
    pub image_id: String,
    /// Hash of the specification it was made from.
    pub hash: String,
    /// The log file.
    pub log_path: String,
    /// The user it runs as: uid, gid, further groups.
    pub user: Option<(i64, i64, Vec<i64>)>,
    /// Limits that are in force: CPU quota, shares, memory.
    pub limits: Option<crate::resources::LinuxResources>,
    /// Where in the container the termination message is.
    pub message_path: String,
    /// The file on the node where it is.
    pub message_file: Option<String>,
    /// `File` or `FallbackToLogsOnError`.
    pub message_policy: String,
}

/// One sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// The number of the try.
    pub attempt: u32,
    /// Whether containers can run in it.
    pub ready: bool,
    /// Its addresses; empty with the host's network.
    pub ips: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// A pod as the runtime sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Sandboxes, newest first.
    pub sandboxes: Vec<Sandbox>,
    /// Instances of containers, newest first.
    pub instances: Vec<Instance>,
}

impl Observed {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest sandbox, if containers can run in it.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandbox().filter(|s| s.ready)
    }

    /// The newest instance of a container in any sandbox.
    pub fn newest(&self, name: &str) -> Option<&Instance> {
        self.instances.iter().find(|i| i.name == name)
    }

    /// The newest instance of a container in the present sandbox.
    pub fn current(&self, name: &str) -> Option<&Instance> {
        let sandbox = self.sandbox()?;
        self.instances
            .iter()
            .find(|i| i.name == name && i.sandbox_id == sandbox.id)
    }

    /// Instances of a container, newest first.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Instance> {
        self.instances.iter().filter(move |i| i.name == name)
    }

    /// Whether anything still runs or could. A container that was made and never started runs no more once its sandbox has
    /// stopped: the runtime does not stop it, it goes with the sandbox.
    pub fn anything_running(&self) -> bool {
        self.sandboxes.iter().any(|s| s.ready) || self.instances.iter().any(Instance::running)
    }

    /// Adds a sandbox as the task that made it saw it. If the end of it was observed meanwhile, that stays: an end is
    /// final, and no further event would tell of it.
    pub fn add_sandbox(&mut self, sandbox: Sandbox) {
        if !self.sandboxes.iter().any(|s| s.id == sandbox.id && !s.ready) {
            self.sandboxes.retain(|s| s.id != sandbox.id);
            self.sandboxes.push(sandbox);
            self.sort();
        }
    }

    /// Adds an instance as the task that started it saw it, with the same care as for a sandbox.
    pub fn add_instance(&mut self, instance: Instance) {
        let ended = |i: &Instance| i.id == instance.id && i.state == State::Exited;
        if !self.instances.iter().any(ended) {
            self.instances.retain(|i| i.id != instance.id);
            self.instances.push(instance);
            self.sort();
        }
    }

    /// Puts the newest first: by time of making, then by attempt.
    pub fn sort(&mut self) {
        self.sandboxes
            .sort_by_key(|x| std::cmp::Reverse((x.created, x.attempt)));
        self.instances
            .sort_by_key(|x| std::cmp::Reverse((x.created, x.attempt)));
    }
}

fn time(nanos: i64) -> Option<Timestamp> {
    (nanos > 0)
        .then(|| Timestamp::from_nanosecond(i128::from(nanos)).ok())
        .flatten()
}

impl Instance {
    /// Reads the runtime's answer. `None` for a container that no kubelet made.
    pub fn from_cri(status: &ContainerStatus, sandbox_id: &str) -> Option<Self> {
        let name = status.labels.get(names::CONTAINER_NAME)?.clone();
        let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
        let state = match CriState::try_from(status.state) {
            Ok(CriState::ContainerCreated) => State::Created,
            Ok(CriState::ContainerRunning) => State::Running,
            Ok(CriState::ContainerExited) => State::Exited,
            _ => State::Unknown,
        };
        let linux = status.resources.as_ref().and_then(|r| r.linux.as_ref());
        let user = status.user.as_ref().and_then(|u| u.linux.as_ref());
        let message_path = annotation(names::TERMINATION_MESSAGE_PATH);
        let message_file = status
            .mounts
            .iter()
            .find(|m| m.container_path == message_path)
            .map(|m| m.host_path.clone());
        Some(Self {
            id: status.id.clone(),
            sandbox_id: sandbox_id.to_owned(),
            name,
            attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
            state,
            created: time(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
            started: time(status.started_at),
            finished: time(status.finished_at),
            exit_code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            image: status.image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
            image_id: if status.image_ref.is_empty() {
                status.image_id.clone()
            } else {
                status.image_ref.clone()
            },
            hash: annotation(names::CONTAINER_HASH),
            log_path: status.log_path.clone(),
            user: user.map(|u| (u.uid, u.gid, u.supplemental_groups.clone())),
            limits: linux.map(|l| crate::resources::LinuxResources {
                cpu_shares: l.cpu_shares,
                cpu_quota: l.cpu_quota,
                memory_limit: l.memory_limit_in_bytes,
            }),
            message_path,
            message_file,
            message_policy: annotation(names::TERMINATION_MESSAGE_POLICY),
        })
    }

    /// Whether it runs.
    pub fn running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether it has ended with success.
    pub fn succeeded(&self) -> bool {
        self.state == State::Exited && self.exit_code == 0
    }
}

impl Sandbox {
    /// Reads the runtime's answer.
    pub fn from_cri(status: &PodSandboxStatus) -> Self {
        let network = status.network.as_ref();
        let first = network.map(|n| n.ip.clone()).filter(|ip| !ip.is_empty());
        let more = network
            .into_iter()
            .flat_map(|n| n.additional_ips.iter().map(|i| i.ip.clone()));
        Self {
            id: status.id.clone(),
            attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
            ready: status.state == PodSandboxState::SandboxReady as i32,
            ips: first.into_iter().chain(more).collect(),
            created: time(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}
