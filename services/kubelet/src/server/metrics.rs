//! `/metrics` and `/metrics/resource` in the Prometheus text format.

use super::answer;
use crate::context::Context;
use crate::manager::Manager;
use crate::names;
use http::{HeaderValue, Response, StatusCode, header};
use std::fmt::Write as _;
use std::sync::Arc;
use streams::upgrade::Body;

fn text(body: String) -> Response<Body> {
    let mut response = answer(StatusCode::OK, body);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A page without any metric: the endpoint exists for scrapers that expect it.
pub(super) fn empty() -> Response<Body> {
    text(String::new())
}

/// The kubelet itself: what it counted, and how many pods and containers there are now.
pub(super) async fn kubelet(cx: &Arc<Context>, manager: &Manager) -> Response<Body> {
    let mut out = cx.metrics.text();
    if let Some(end) = out.rfind("# EOF") {
        out.truncate(end);
    }
    let pods = manager.pods();
    let active = pods.iter().filter(|p| !crate::pods::is_terminal(p)).count();
    let mut gauge = |name: &str, help: &str, lines: &[(&str, usize)]| {
        let _infallible = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in lines {
            let _infallible = writeln!(out, "{name}{labels} {value}");
        }
    };
    gauge(
        "kubelet_active_pods",
        "The number of pods the kubelet considers active",
        &[("", active)],
    );
    gauge(
        "kubelet_desired_pods",
        "The number of pods the kubelet is being instructed to run",
        &[("", pods.len())],
    );
    // A runtime that does not answer leaves these out; the rest is still told.
    if let (Ok(sandboxes), Ok(containers)) =
        tokio::join!(cx.engine.sandboxes(None), cx.engine.containers(None))
    {
        let ready = cri::v1::PodSandboxState::SandboxReady as i32;
        gauge(
            "kubelet_running_pods",
            "Number of pods that have a running pod sandbox",
            &[("", sandboxes.iter().filter(|s| s.state == ready).count())],
        );
        let of =
            |state: cri::v1::ContainerState| containers.iter().filter(|c| c.state == state as i32).count();
        gauge(
            "kubelet_running_containers",
            "Number of containers by state",
            &[
                (
                    "{container_state=\"created\"}",
                    of(cri::v1::ContainerState::ContainerCreated),
                ),
                (
                    "{container_state=\"exited\"}",
                    of(cri::v1::ContainerState::ContainerExited),
                ),
                (
                    "{container_state=\"running\"}",
                    of(cri::v1::ContainerState::ContainerRunning),
                ),
            ],
        );
    }
    text(out)
}

/// CPU and memory of the containers, as metrics-server reads them.
pub(super) async fn resource(cx: &Arc<Context>, _manager: &Manager) -> Response<Body> {
    let all = match cx.engine.container_stats().await {
        Ok(all) => all,
        Err(status) => return answer(StatusCode::INTERNAL_SERVER_ERROR, status.message().to_owned()),
    };
    let (mut cpu, mut memory) = (String::new(), String::new());
    for stats in &all {
        let Some(attributes) = &stats.attributes else {
            continue;
        };
        let of = |key: &str| attributes.labels.get(key).map(String::as_str).unwrap_or_default();
        let labels = format!(
            "{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}}",
            of(names::CONTAINER_NAME),
            of(names::POD_NAMESPACE),
            of(names::POD_NAME)
        );
        if let Some(c) = &stats.cpu {
            let nanos = c.usage_core_nano_seconds.map_or(0, |v| v.value);
            let _infallible = writeln!(
                cpu,
                "container_cpu_usage_seconds_total{labels} {}.{:09} {}",
                nanos / 1_000_000_000,
                nanos % 1_000_000_000,
                c.timestamp / 1_000_000
            );
        }
        if let Some(m) = &stats.memory {
            let bytes = m.working_set_bytes.map_or(0, |v| v.value);
            let _infallible = writeln!(
                memory,
                "container_memory_working_set_bytes{labels} {bytes} {}",
                m.timestamp / 1_000_000
            );
        }
    }
    text(format!(
        "# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed by the container in core-seconds\n\
         # TYPE container_cpu_usage_seconds_total counter\n{cpu}\
         # HELP container_memory_working_set_bytes Current working set of the container in bytes\n\
         # TYPE container_memory_working_set_bytes gauge\n{memory}"
    ))
}
