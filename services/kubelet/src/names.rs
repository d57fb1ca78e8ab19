//! The names a kubelet gives: labels and annotations on CRI objects, paths of logs, volumes and files.
//!
//! All are upstream's, so that tools that read them (log collectors, `crictl`, another kubelet on the same node) work,
//! and a restarted kubelet finds its pods again from the labels alone.

use crate::k8s::{Pod, name, namespace, uid};
use std::path::{Path, PathBuf};

/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name in its pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: a hash of the container's specification; a change means restart.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was restarted before this instance.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where in the container the termination message is written.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the pod's grace period, seconds.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation of pods: where the kubelet got it (`api` or `file`).
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Annotation of pods: the hash of a static pod's manifest.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Annotation of mirror pods: the hash of the static pod they show.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Annotation of pods: when the kubelet first saw it.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// `name_namespace(uid)`: how a pod is written in logs.
pub fn pod_text(pod: &Pod) -> String {
    format!(
        "{}_{}({})",
        name(&pod.metadata),
        namespace(&pod.metadata),
        uid(&pod.metadata)
    )
}

/// Where the kubelet keeps things on its node.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
    pod_logs: PathBuf,
    container_logs: PathBuf,
}

impl Paths {
    /// `root` is upstream's `/var/lib/kubelet`, `pod_logs` its `/var/log/pods`, `container_logs` its `/var/log/containers`.
    pub fn new(root: PathBuf, pod_logs: PathBuf, container_logs: PathBuf) -> Self {
        Self {
            root,
            pod_logs,
            container_logs,
        }
    }

    /// The kubelet's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that holds one directory for each pod.
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Everything of one pod.
    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    /// One volume of a pod; `plugin` as `kubernetes.io~empty-dir`.
    pub fn volume(&self, uid: &str, plugin: &str, volume: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(plugin).join(volume)
    }

    /// Where a `subPath` of a volume is bind-mounted for a container.
    pub fn subpath(&self, uid: &str, volume: &str, container: &str, index: usize) -> PathBuf {
        self.pod(uid)
            .join("volume-subpaths")
            .join(volume)
            .join(container)
            .join(index.to_string())
    }

    /// All `subPath` mounts of a pod.
    pub fn subpaths(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("volume-subpaths")
    }

    /// A pod's `/etc/hosts`.
    pub fn etc_hosts(&self, uid: &str) -> PathBuf {
        self.pod(uid).join("etc-hosts")
    }

    /// The termination message file of one instance of a container.
    pub fn termination_log(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid)
            .join("containers")
            .join(container)
            .join(format!("termination-{attempt}"))
    }

    /// The directory of all pods' logs.
    pub fn logs(&self) -> &Path {
        &self.pod_logs
    }

    /// The directory of the flat symbolic links to container logs.
    pub fn log_links(&self) -> &Path {
        &self.container_logs
    }

    /// The log directory of a pod: `<namespace>_<name>_<uid>`.
    pub fn pod_log_dir(&self, pod: &Pod) -> PathBuf {
        let meta = &pod.metadata;
        self.pod_logs
            .join(format!("{}_{}_{}", namespace(meta), name(meta), uid(meta)))
    }

    /// The log file of an instance of a container, relative to the pod's log directory.
    pub fn log_file(container: &str, attempt: u32) -> String {
        format!("{container}/{attempt}.log")
    }

    /// The flat link of a container instance: `<pod>_<namespace>_<container>-<container id>.log`.
    pub fn log_link(&self, pod: &Pod, container: &str, id: &str) -> PathBuf {
        let meta = &pod.metadata;
        self.container_logs
            .join(format!("{}_{}_{container}-{id}.log", name(meta), namespace(meta)))
    }
}
