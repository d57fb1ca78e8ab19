//! The kubelet's spans, by the names that upstream's kubelet has for them or for the function that does it.
//!
//! ```text
//!  syncPod                     the pod's start, a part of it, or a restart: as long as something of it is under way
//!  ├ mountVolumes
//!  ├ createPodSandbox          ─ runtime.v1.RuntimeService/RunPodSandbox (crate `cri`)
//!  ├ startContainer            ─ pullImage ─ runtime.v1.ImageService/PullImage
//!  │                           ─ runtime.v1.RuntimeService/{Create,Start}Container
//!  └ writePodStatus
//!  syncTerminatingPod          ─ runtime.v1.RuntimeService/{StopContainer,StopPodSandbox}
//! ```
//! Requests to the API server are children of these by `traceparent`, and so are those of the kubelet's own API
//! (`server::trace`) of the API server's. A pod that runs makes none: neither looks, nor refreshed volumes, nor probes. A
//! span is a trace's root if nothing else is, since nothing in a pod's object names the trace that it comes from.

use crate::k8s::{Pod, name, namespace, uid};
use std::fmt::Display;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug_span, info_span};

/// Starts what a pod lacks.
pub fn sync_pod(pod: &Pod) -> Span {
    debug_span!(
        "syncPod",
        k8s.pod.uid = uid(&pod.metadata),
        k8s.pod.name = name(&pod.metadata),
        k8s.namespace.name = namespace(&pod.metadata),
    )
}

/// Stops everything of a pod.
pub fn sync_terminating_pod(pod: &Pod) -> Span {
    debug_span!(
        "syncTerminatingPod",
        k8s.pod.uid = uid(&pod.metadata),
        k8s.pod.name = name(&pod.metadata),
        k8s.namespace.name = namespace(&pod.metadata),
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// Makes a pod's volumes.
pub fn mount_volumes() -> Span {
    debug_span!(
        "mountVolumes",
        otel.status_code = Empty,
        otel.status_description = Empty
    )
}

/// Makes the sandbox. At level info, as context of log lines.
pub fn create_sandbox(attempt: u32) -> Span {
    info_span!(
        "createPodSandbox",
        attempt,
        otel.status_code = Empty,
        otel.status_description = Empty
    )
}

/// Starts a container, from its image to its process. At level info, as context of log lines.
pub fn start_container(container: &str) -> Span {
    info_span!(
        "startContainer",
        k8s.container.name = container,
        otel.status_code = Empty,
        otel.status_description = Empty
    )
}

/// Fetches an image, or waits for the pull of another pod.
pub fn pull_image(image: &str) -> Span {
    debug_span!(
        "pullImage",
        container.image.name = image,
        otel.status_code = Empty,
        otel.status_description = Empty
    )
}

/// Tells the API server.
pub fn write_status() -> Span {
    debug_span!(parent: None, "writePodStatus")
}

/// Records how it ended, if it failed.
pub fn outcome<T, E: Display>(span: &Span, result: &Result<T, E>) {
    if let Err(error) = result
        && !span.is_disabled()
    {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error.to_string());
    }
}

/// Does work inside a span, and records how it ended.
pub async fn noted<T, E: Reason>(span: Span, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let result = work.instrument(span.clone()).await;
    outcome(&span, &result.as_ref().map_err(Reason::reason));
    result
}

/// What an error says of itself in a span.
pub trait Reason {
    /// The text.
    fn reason(&self) -> String;
}

impl Reason for String {
    fn reason(&self) -> String {
        self.clone()
    }
}

/// A volume and what is wrong with it.
impl Reason for (String, String) {
    fn reason(&self) -> String {
        format!("{}: {}", self.0, self.1)
    }
}
