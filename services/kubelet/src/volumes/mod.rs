//! Volumes of pods: made before their containers start, refreshed while they run, removed when they are gone.
//!
//! One file for each kind of volume; [`Volumes::mount`] lists them. What is on disk is the only record: a restarted
//! kubelet finds volumes where it left them and every step can be repeated.

pub mod atomic;
mod claim;
mod empty_dir;
mod host_path;
mod mounts;
pub mod payload;
mod projected;
pub mod subpath;

use crate::downward::NodeFacts;
use crate::k8s::{Pod, Volume, uid};
use crate::names::Paths;
use crate::objects::Objects;
use base::Clock;
use std::collections::HashMap;
use std::path::PathBuf;

pub use mounts::container_mounts;

/// Why a volume cannot be had. The text is what the event `FailedMount` says.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Its contents cannot be made: something refers to what does not exist.
    #[error(transparent)]
    Payload(#[from] payload::PayloadError),
    /// The API server did not answer.
    #[error("{0}")]
    Api(#[from] client::Error),
    /// The file system refused.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// The refusal.
        error: std::io::Error,
    },
    /// A host path is not what it should be.
    #[error("hostPath type check failed: {path} is not a {kind}")]
    HostPath {
        /// The path.
        path: String,
        /// The kind wanted.
        kind: String,
    },
    /// A sub-path leaves its volume or refers to what is not defined.
    #[error("{0}")]
    SubPath(String),
    /// A claim that is not bound, or whose volume this node cannot mount.
    #[error("{0}")]
    Claim(String),
    /// A kind of volume that this kubelet does not know.
    #[error("volume {0:?} is of a kind that this kubelet does not support")]
    Unsupported(String),
}

impl VolumeError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}

/// A volume that can be mounted into containers.
#[derive(Clone, Debug)]
pub enum Mounted {
    /// A directory or file of the node.
    Path {
        /// Where.
        path: PathBuf,
        /// Whether containers may only read it.
        read_only: bool,
    },
    /// An image, mounted by the runtime.
    Image {
        /// Its name.
        reference: String,
        /// When to pull it.
        policy: Option<String>,
    },
}

/// The volumes of a pod by name.
pub type PodVolumes = HashMap<String, Mounted>;

/// Makes and removes volumes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Volumes {
    paths: Paths,
    objects: Objects,
    clock: Clock,
}

impl Volumes {
    /// Volumes below `paths`, with contents from `objects`.
    pub fn new(paths: Paths, objects: Objects, clock: Clock) -> Self {
        Self {
            paths,
            objects,
            clock,
        }
    }

    /// Makes all volumes of a pod, at once. Can be repeated; contents are brought up to date.
    pub async fn mount(&self, pod: &Pod, facts: &NodeFacts) -> Result<PodVolumes, (String, VolumeError)> {
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        let made = volumes.map(|volume| async move {
            match self.one(pod, volume, facts).await {
                Ok(mounted) => Ok((volume.name.clone(), mounted)),
                Err(error) => Err((volume.name.clone(), error)),
            }
        });
        futures::future::try_join_all(made)
            .await
            .map(|list| list.into_iter().collect())
    }

    async fn one(&self, pod: &Pod, volume: &Volume, facts: &NodeFacts) -> Result<Mounted, VolumeError> {
        let id = uid(&pod.metadata);
        let fs_group = fs_group(pod);
        if let Some(source) = &volume.empty_dir {
            let path = self.paths.volume(id, "kubernetes.io~empty-dir", &volume.name);
            let source = source.clone();
            return blocking(move || empty_dir::make(&path, &source, fs_group)).await;
        }
        if let Some(source) = &volume.host_path {
            let source = source.clone();
            return blocking(move || host_path::check(&source)).await;
        }
        if let Some(source) = &volume.image {
            let reference = source.reference.clone().unwrap_or_default();
            return Ok(Mounted::Image {
                reference,
                policy: source.pull_policy.clone(),
            });
        }
        if let Some(source) = &volume.persistent_volume_claim {
            return claim::resolve(&self.objects, pod, source).await;
        }
        if let Some((plugin, payload)) = projected::contents(&self.objects, pod, volume, facts).await? {
            let path = self.paths.volume(id, plugin, &volume.name);
            let stamp = self.clock.now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
            // Secrets and tokens stay off the disk.
            let in_memory = matches!(plugin, "kubernetes.io~secret" | "kubernetes.io~projected");
            return blocking(move || projected::write(&path, &payload, fs_group, &stamp, in_memory)).await;
        }
        Err(VolumeError::Unsupported(volume.name.clone()))
    }

    /// Whether a pod has volumes whose contents change while it runs.
    pub fn refreshes(pod: &Pod) -> bool {
        pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).any(|v| {
            v.config_map.is_some() || v.secret.is_some() || v.projected.is_some() || v.downward_api.is_some()
        })
    }

    /// Removes everything of a pod: mounts first, then files. A mount that is busy is detached lazily.
    pub async fn remove(&self, uid: &str) -> Result<(), VolumeError> {
        self.objects.forget(uid);
        let dir = self.paths.pod(uid);
        blocking(move || {
            subpath::unmount_below(&dir);
            match std::fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(VolumeError::io(format!("removing {}", dir.display()))(e))
                }
                _ => Ok(()),
            }
        })
        .await
    }
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.as_ref())
        .and_then(|c| c.fs_group)?;
    u32::try_from(group).ok()
}

/// Runs file-system work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(VolumeError::Io {
            what: "file system work".to_owned(),
            error: std::io::Error::other(e),
        }),
    }
}
