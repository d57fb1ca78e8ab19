//! Starting: the pod's directories, volumes and sandbox at once, then each container.

use crate::cgroups::Cgroups;
use crate::config::container::{self as container_config, Inputs};
use crate::config::sandbox as sandbox_config;
use crate::context::Context;
use crate::env::{self, Sources};
use crate::events::Level;
use crate::images::{Present, default_policy};
use crate::k8s::{Container, Pod, Secret, name, namespace, uid};
use crate::observed::{Instance, Observed, Sandbox};
use crate::resources::all_containers;
use crate::volumes::{Mounted, PodVolumes, container_mounts};
use crate::{dns, names};
use cri::v1::{ImageSpec, PodSandboxConfig};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Why a container did not start: the reason and message of its waiting state.
#[derive(Clone, Debug)]
pub(super) struct StartError {
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// When it may be tried again, if the failure has a back-off of its own (images).
    pub(super) until: Option<jiff::Timestamp>,
}

impl StartError {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            until: None,
        }
    }
}

impl crate::trace::Reason for StartError {
    fn reason(&self) -> String {
        format!("{}: {}", self.reason, self.message)
    }
}

/// A sandbox that is up.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub(super) sandbox: Sandbox,
}

/// Directories and control group of a pod.
pub(super) fn prepare_directories(cx: &Context, pod: &Pod) -> std::io::Result<()> {
    let dir = cx.paths.pod(uid(&pod.metadata));
    std::fs::create_dir_all(dir.join("volumes"))?;
    std::fs::create_dir_all(dir.join("containers"))?;
    std::fs::create_dir_all(cx.paths.pod_log_dir(pod))?;
    if let Some(groups) = &cx.cgroups {
        groups.ensure_pod(pod)?;
    }
    Ok(())
}

/// The name of the runtime handler of a pod: empty for the default one.
pub(super) async fn handler(cx: &Context, pod: &Pod) -> Result<String, String> {
    let class = pod
        .spec
        .as_ref()
        .and_then(|s| s.runtime_class_name.as_deref())
        .filter(|c| !c.is_empty());
    let Some(class) = class else {
        return Ok(String::new());
    };
    let valid = class
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'));
    if !valid {
        return Err(format!("{class:?} is no name of a RuntimeClass"));
    }
    let path = format!("/apis/node.k8s.io/v1/runtimeclasses/{class}");
    match cx.objects.client().get_json(&path).await {
        Ok(object) => Ok(object["handler"].as_str().unwrap_or_default().to_owned()),
        Err(e) if e.is_not_found() => Err(format!("RuntimeClass {class:?} not found")),
        Err(e) => Err(e.to_string()),
    }
}

/// Makes a sandbox.
pub(super) async fn sandbox(cx: Arc<Context>, pod: Arc<Pod>, attempt: u32) -> Result<Up, String> {
    let handler = handler(&cx, &pod).await?;
    let config = sandbox_config::config(&pod, attempt, &cx.dns, &cx.paths).map_err(|e| e.to_string())?;
    let (cx2, pod2) = (cx.clone(), pod.clone());
    let made = tokio::task::spawn_blocking(move || prepare_directories(&cx2, &pod2)).await;
    made.map_err(|e| e.to_string())?
        .map_err(|e| format!("making the pod's directories: {e}"))?;
    let _turn = cx.sandbox_turns.acquire().await;
    let id = cx
        .engine
        .run_sandbox(config, &handler)
        .await
        .map_err(|s| s.message().to_owned())?;
    let sandbox = cx.engine.sandbox(&id).await.map_err(|s| s.message().to_owned())?;
    let sandbox = sandbox.ok_or("the sandbox vanished after it was made")?;
    Ok(Up { sandbox })
}

/// A pod's addresses: its sandbox's, or the node's.
pub(super) fn pod_ips(cx: &Context, pod: &Pod, observed: &Observed) -> Vec<String> {
    if pod.spec.as_ref().and_then(|s| s.host_network) == Some(true) {
        cx.host_ips()
    } else {
        observed.sandbox().map(|s| s.ips.clone()).unwrap_or_default()
    }
}

/// Everything a container's start needs.
pub(super) struct Start {
    pub(super) cx: Arc<Context>,
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) observed: Arc<Observed>,
    pub(super) volumes: Arc<PodVolumes>,
}

/// Starts one container in the pod's sandbox.
pub(super) async fn container(s: Start) -> Result<Instance, StartError> {
    let (cx, pod, c) = (&*s.cx, &*s.pod, &s.container);
    let config_error = |message: String| StartError::new("CreateContainerConfigError", message);
    let sandbox = s
        .observed
        .ready_sandbox()
        .ok_or_else(|| StartError::new("ContainerCreating", "no sandbox"))?;
    let sandbox_config = sandbox_config::config(pod, sandbox.attempt, &cx.dns, &cx.paths);
    let sandbox_config = sandbox_config.map_err(|e| config_error(e.to_string()))?;
    let handler = handler(cx, pod).await.map_err(config_error)?;
    let image = image(cx, pod, c, &sandbox_config, &handler).await?;
    let ips = pod_ips(cx, pod, &s.observed);
    let sources = sources(cx, pod, c, &ips).await.map_err(config_error)?;
    let env = env::build(pod, c, &sources).map_err(|e| config_error(e.to_string()))?;
    let volume_images = volume_images(cx, pod, c, &s.volumes, &sandbox_config, &handler).await?;
    let attempt = s
        .observed
        .newest(&c.name)
        .map_or(0, |i| i.attempt + 1)
        .max(attempt_from_logs(cx, pod, &c.name));
    let mounts = {
        let (cx, pod, c) = (s.cx.clone(), s.pod.clone(), s.container.clone());
        let (volumes, env) = (s.volumes.clone(), env.clone());
        let work = tokio::task::spawn_blocking(move || {
            let hosts = (!ips.is_empty()).then(|| {
                let host_network = pod.spec.as_ref().and_then(|s| s.host_network) == Some(true);
                dns::etc_hosts(
                    &pod,
                    &ips,
                    &cx.dns.cluster_domain,
                    host_network.then_some(cx.hosts_file.as_str()),
                )
            });
            if let Some(text) = hosts {
                write_if_changed(&cx.paths.etc_hosts(uid(&pod.metadata)), &text)
                    .map_err(|e| e.to_string())?;
            }
            // The log's directory and the message file's must be there before the runtime wants them.
            std::fs::create_dir_all(cx.paths.pod_log_dir(&pod).join(&c.name)).map_err(|e| e.to_string())?;
            let images = |name: &str| volume_images.get(name).cloned();
            container_mounts(&pod, &c, &volumes, &env, &images, attempt, &cx.paths).map_err(|e| e.to_string())
        });
        work.await
            .map_err(|e| config_error(e.to_string()))?
            .map_err(config_error)?
    };
    let target = target_of(pod, &c.name).and_then(|t| s.observed.current(&t).map(|i| i.id.clone()));
    let inputs = Inputs {
        attempt,
        image: image.spec.clone(),
        image_user: &image.user,
        env: &env,
        mounts,
        target: target.as_deref(),
        memory_capacity: cx.memory_capacity,
        oom_floor: cx.oom_floor,
        cgroups: cx.cgroups.as_ref().map(Cgroups::version),
        paths: &cx.paths,
    };
    let config = container_config::config(pod, c, inputs).map_err(|e| config_error(e.to_string()))?;
    let created = cx
        .engine
        .create_container(&sandbox.id, config, sandbox_config)
        .await;
    let id = created.map_err(|status| {
        cx.events.pod(
            pod,
            Some(&c.name),
            Level::Warning,
            "Failed",
            format!("Error: {}", status.message()),
        );
        StartError::new("CreateContainerError", status.message())
    })?;
    cx.events.pod(
        pod,
        Some(&c.name),
        Level::Normal,
        "Created",
        format!("Created container: {}", c.name),
    );
    if let Err(status) = cx.engine.start_container(&id).await {
        cx.events.pod(
            pod,
            Some(&c.name),
            Level::Warning,
            "Failed",
            format!("Error: {}", status.message()),
        );
        return Err(StartError::new("RunContainerError", status.message()));
    }
    cx.events.pod(
        pod,
        Some(&c.name),
        Level::Normal,
        "Started",
        format!("Started container {}", c.name),
    );
    link_log(cx, pod, &c.name, attempt, &id);
    let instance = cx.engine.container(&id, &sandbox.id).await.ok().flatten();
    instance
        .ok_or_else(|| StartError::new("RunContainerError", "the container vanished after it was started"))
}

fn target_of(pod: &Pod, container: &str) -> Option<String> {
    let list = pod.spec.as_ref()?.ephemeral_containers.as_ref()?;
    list.iter()
        .find(|e| e.name == container)?
        .target_container_name
        .clone()
        .filter(|t| !t.is_empty())
}

fn write_if_changed(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, text)
}

/// The runtime may have forgotten instances whose logs are still there; their numbers are not used again.
fn attempt_from_logs(cx: &Context, pod: &Pod, container: &str) -> u32 {
    let dir = cx.paths.pod_log_dir(pod).join(container);
    let numbers = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.split_once(".log")?.0.parse::<u32>().ok()
        });
    numbers.max().map_or(0, |n| n.saturating_add(1))
}

/// The flat link that log collectors read. Its absence costs nothing else.
fn link_log(cx: &Context, pod: &Pod, container: &str, attempt: u32, id: &str) {
    let target = cx
        .paths
        .pod_log_dir(pod)
        .join(names::Paths::log_file(container, attempt));
    let link = cx.paths.log_link(pod, container, id);
    if let Err(e) = std::os::unix::fs::symlink(target, &link)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        tracing::debug!(link = %link.display(), "log not linked: {e}");
    }
}

async fn pull_secrets(cx: &Context, pod: &Pod) -> Vec<Secret> {
    let references = pod
        .spec
        .iter()
        .flat_map(|s| s.image_pull_secrets.iter().flatten());
    let mut out = Vec::new();
    for reference in references {
        match cx.objects.secret(namespace(&pod.metadata), &reference.name).await {
            Ok(Some(secret)) => out.push(secret),
            Ok(None) => tracing::debug!(secret = reference.name, "pull secret does not exist"),
            Err(error) => tracing::warn!(secret = reference.name, "pull secret not read: {error}"),
        }
    }
    out
}

async fn image(
    cx: &Context,
    pod: &Pod,
    c: &Container,
    sandbox: &PodSandboxConfig,
    handler: &str,
) -> Result<Present, StartError> {
    let wanted = c.image.as_deref().unwrap_or_default();
    let policy = c
        .image_pull_policy
        .as_deref()
        .filter(|p| !p.is_empty())
        .unwrap_or_else(|| default_policy(wanted));
    let secrets = pull_secrets(cx, pod).await;
    let event = |level, reason, text: String| cx.events.pod(pod, Some(&c.name), level, reason, text);
    let pulling = || event(Level::Normal, "Pulling", format!("Pulling image {wanted:?}"));
    match cx
        .images
        .ensure(wanted, policy, &secrets, sandbox, handler, pulling)
        .await
    {
        Ok(present) => {
            let text = match present.pulled {
                Some(took) => format!(
                    "Successfully pulled image {wanted:?} in {}ms ({}ms including waiting). Image size: {} bytes.",
                    took.as_millis(),
                    took.as_millis(),
                    present.size
                ),
                None => format!(
                    "Container image {wanted:?} already present on machine and can be accessed by the pod"
                ),
            };
            event(Level::Normal, "Pulled", text);
            Ok(present)
        }
        Err(error) => {
            use crate::images::ImageError::BackOff;
            let until = if let BackOff { until, .. } = &error {
                Some(*until)
            } else {
                None
            };
            match &error {
                BackOff { .. } => event(
                    Level::Normal,
                    "BackOff",
                    format!("Back-off pulling image {wanted:?}"),
                ),
                _ => {
                    let text = format!("Failed to pull image {wanted:?}: {error}");
                    event(Level::Warning, "Failed", text);
                    event(Level::Warning, "Failed", format!("Error: {}", error.reason()));
                }
            }
            Err(StartError {
                reason: error.reason(),
                message: error.to_string(),
                until,
            })
        }
    }
}

/// The images of image volumes that a container mounts, by the name the pod gives.
async fn volume_images(
    cx: &Context,
    pod: &Pod,
    c: &Container,
    volumes: &PodVolumes,
    sandbox: &PodSandboxConfig,
    handler: &str,
) -> Result<HashMap<String, ImageSpec>, StartError> {
    let mut out = HashMap::new();
    for mount in c.volume_mounts.iter().flatten() {
        let Some(Mounted::Image { reference, policy }) = volumes.get(&mount.name) else {
            continue;
        };
        let policy = policy.as_deref().unwrap_or_else(|| default_policy(reference));
        let secrets = pull_secrets(cx, pod).await;
        let present = cx
            .images
            .ensure(reference, policy, &secrets, sandbox, handler, || {})
            .await;
        let present = present.map_err(|e| StartError::new(e.reason(), e.to_string()))?;
        out.insert(reference.clone(), present.spec);
    }
    Ok(out)
}

/// Fetches what the container's environment refers to.
async fn sources(cx: &Context, pod: &Pod, c: &Container, ips: &[String]) -> Result<Sources, String> {
    let ns = namespace(&pod.metadata);
    let mut maps = BTreeSet::new();
    let mut secrets = BTreeSet::new();
    for from in c.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for from in c.env.iter().flatten().filter_map(|v| v.value_from.as_ref()) {
        maps.extend(from.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(from.secret_key_ref.as_ref().map(|r| r.name.clone()));
    }
    let mut out = Sources {
        facts: cx.facts_for(ips),
        ..Default::default()
    };
    for name in maps {
        if let Some(map) = cx
            .objects
            .config_map(ns, &name)
            .await
            .map_err(|e| e.to_string())?
        {
            out.config_maps.insert(name, map);
        }
    }
    for name in secrets {
        if let Some(secret) = cx.objects.secret(ns, &name).await.map_err(|e| e.to_string())? {
            out.secrets.insert(name, secret);
        }
    }
    let links = pod
        .spec
        .as_ref()
        .and_then(|s| s.enable_service_links)
        .unwrap_or(true);
    out.services = cx.services.variables(ns, links).await?;
    Ok(out)
}

/// The containers of a pod, for the log.
pub(super) fn summary(pod: &Pod) -> String {
    let containers = pod
        .spec
        .iter()
        .flat_map(all_containers)
        .map(|c| c.name.as_str())
        .collect::<Vec<_>>();
    format!("{} [{}]", name(&pod.metadata), containers.join(" "))
}
