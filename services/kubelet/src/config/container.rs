//! A container: command, environment, mounts, limits and identity.

use super::security::{self, ImageUser, SecurityError};
use crate::cgroups::Version;
use crate::expand::expand;
use crate::k8s::{self, Container, EphemeralContainer, Pod};
use crate::names::{self, Paths};
use crate::resources;
use cri::v1::{
    ContainerConfig, ContainerMetadata, Device, ImageSpec, KeyValue, LinuxContainerConfig,
    LinuxContainerResources, Mount,
};
use std::path::Path;

/// Everything besides the specification that a container's configuration is made of.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// How often it was restarted before.
    pub attempt: u32,
    /// What the runtime calls the image on this node.
    pub image: ImageSpec,
    /// Who the image says it runs as.
    pub image_user: &'a ImageUser,
    /// Its environment.
    pub env: &'a [(String, String)],
    /// Its mounts, complete.
    pub mounts: Vec<Mount>,
    /// The runtime's id of the container an ephemeral one looks into.
    pub target: Option<&'a str>,
    /// The node's memory, bytes, for the OOM score.
    pub memory_capacity: i64,
    /// The lowest OOM score that this machine may set.
    pub oom_floor: i64,
    /// The kernel's interface of control groups; `None` if the kubelet makes none.
    pub cgroups: Option<Version>,
    /// The directories of the node.
    pub paths: &'a Paths,
}

/// A hash of what makes a running container outdated: its name and image. All else that may change in a running
/// pod is applied without a restart.
pub fn hash(container: &Container) -> String {
    super::fnv(&[&container.name, container.image.as_deref().unwrap_or_default()])
}

/// The configuration of `container`.
pub fn config(
    pod: &Pod,
    container: &Container,
    inputs: Inputs<'_>,
) -> Result<ContainerConfig, SecurityError> {
    let lookup = |name: &str| {
        inputs
            .env
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    };
    let expand_all =
        |list: Option<&Vec<String>>| list.into_iter().flatten().map(|s| expand(s, lookup)).collect();
    let mut labels = super::pod_labels(pod);
    labels.insert(names::CONTAINER_NAME.to_owned(), container.name.clone());
    let grace = pod
        .spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds)
        .unwrap_or(super::DEFAULT_GRACE);
    let annotations = [
        (names::CONTAINER_HASH, hash(container)),
        (names::RESTART_COUNT, inputs.attempt.to_string()),
        (
            names::TERMINATION_MESSAGE_PATH,
            container.termination_message_path.clone().unwrap_or_default(),
        ),
        (
            names::TERMINATION_MESSAGE_POLICY,
            container.termination_message_policy.clone().unwrap_or_default(),
        ),
        (names::GRACE_PERIOD, grace.to_string()),
    ];
    let profiles = inputs.paths.root().join("seccomp");
    let limits = linux_resources(pod, container, &inputs);
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: container.name.clone(),
            attempt: inputs.attempt,
        }),
        image: Some(inputs.image),
        command: expand_all(container.command.as_ref()),
        args: expand_all(container.args.as_ref()),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: inputs
            .env
            .iter()
            .map(|(key, value)| KeyValue {
                key: key.clone(),
                value: value.clone().into_bytes(),
            })
            .collect(),
        mounts: inputs.mounts,
        devices: Vec::<Device>::new(),
        labels,
        annotations: annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        log_path: Paths::log_file(&container.name, inputs.attempt),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(limits),
            security_context: Some(security::container(
                pod,
                container,
                inputs.image_user,
                inputs.target,
                &profiles,
            )?),
        }),
        windows: None,
        cdi_devices: Vec::new(),
        stop_signal: stop_signal(container),
    })
}

/// The limits of a container as the runtime takes them.
fn linux_resources(pod: &Pod, container: &Container, inputs: &Inputs<'_>) -> LinuxContainerResources {
    let r = resources::container_resources(container.resources.as_ref());
    let hugepage_limits = container
        .resources
        .iter()
        .flat_map(|r| r.limits.iter().flatten())
        .filter_map(|(name, q)| {
            let size = name.strip_prefix("hugepages-")?;
            let limit = u64::try_from(crate::quantity::units(q)?).ok()?;
            // The runtime names page sizes as the kernel does: 2MB, 1GB.
            Some(cri::v1::HugepageLimit {
                page_size: size.replace('i', "") + "B",
                limit,
            })
        });
    // Where the kernel can, a container out of memory ends as a whole rather than losing some process of it: the kubelet's
    // configuration `singleProcessOOMKill` is false by default on version 2.
    let unified = (inputs.cgroups == Some(Version::V2)).then(|| ("memory.oom.group".into(), "1".into()));
    LinuxContainerResources {
        cpu_period: resources::CPU_PERIOD,
        cpu_quota: r.cpu_quota,
        cpu_shares: r.cpu_shares,
        memory_limit_in_bytes: r.memory_limit,
        oom_score_adj: resources::oom_score_adj(pod, container, inputs.memory_capacity, inputs.oom_floor),
        hugepage_limits: hugepage_limits.collect(),
        unified: unified.into_iter().collect(),
        ..Default::default()
    }
}

fn stop_signal(container: &Container) -> i32 {
    let name = container
        .lifecycle
        .as_ref()
        .and_then(|l| l.stop_signal.as_deref());
    name.and_then(cri::v1::Signal::from_str_name)
        .map_or(0, |s| s as i32)
}

/// An ephemeral container seen as an ordinary one: it has no probes, ports, limits or hooks.
pub fn from_ephemeral(e: &EphemeralContainer) -> Container {
    Container {
        name: e.name.clone(),
        image: e.image.clone(),
        image_pull_policy: e.image_pull_policy.clone(),
        command: e.command.clone(),
        args: e.args.clone(),
        working_dir: e.working_dir.clone(),
        env: e.env.clone(),
        env_from: e.env_from.clone(),
        volume_mounts: e.volume_mounts.clone(),
        volume_devices: e.volume_devices.clone(),
        termination_message_path: e.termination_message_path.clone(),
        termination_message_policy: e.termination_message_policy.clone(),
        security_context: e.security_context.clone(),
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        tty: e.tty,
        ..Default::default()
    }
}

/// One bind mount.
pub fn bind(host: &Path, container: &str, readonly: bool) -> Mount {
    Mount {
        container_path: container.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        readonly,
        ..Default::default()
    }
}

/// Any container of a pod by name: init, ordinary or ephemeral.
pub fn find(pod: &Pod, name: &str) -> Option<Container> {
    let spec = pod.spec.as_ref()?;
    let ordinary = resources::all_containers(spec).find(|c| c.name == name).cloned();
    ordinary.or_else(|| {
        spec.ephemeral_containers
            .iter()
            .flatten()
            .find(|c| c.name == name)
            .map(from_ephemeral)
    })
}

/// Grace period of a pod in seconds: what the deletion asked for, else what the specification says.
pub fn grace_period(pod: &Pod) -> i64 {
    let asked = pod
        .metadata
        .deletion_timestamp
        .as_ref()
        .and(pod.metadata.deletion_grace_period_seconds);
    let spec = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    asked.or(spec).unwrap_or(super::DEFAULT_GRACE).max(0)
}

/// The pod as logs and errors name it.
pub fn describe(pod: &Pod) -> String {
    format!("{}/{}", k8s::namespace(&pod.metadata), k8s::name(&pod.metadata))
}
