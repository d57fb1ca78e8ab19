//! Stopping: the preStop hook, the stop signal, the grace period; then the sandbox.

use crate::context::Context;
use crate::events::Level;
use crate::k8s::{Container, LifecycleHandler, Pod};
use crate::observed::{Observed, State};
use crate::probes::ask::http_get;
use crate::resources::is_restartable_init;
use std::sync::Arc;
use std::time::Duration;

/// The least time a container gets after its preStop hook used the grace period up, seconds.
const MIN_AFTER_HOOK: i64 = 2;

/// Runs a lifecycle hook. The error says what was wrong.
pub(super) async fn hook(
    cx: &Context,
    hook: &LifecycleHandler,
    container: &Container,
    instance: &str,
    pod_ip: &str,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        cx.asker.exec(instance, command, Duration::ZERO).await.map(drop)
    } else if let Some(get) = &hook.http_get {
        http_get(get, container, pod_ip, "kube-lifecycle/1.37").await
    } else if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        Ok(())
    } else {
        Ok(())
    }
}

/// Stops one instance, within `grace` seconds from now.
pub(super) async fn container(
    cx: &Context,
    pod: &Pod,
    container: Option<&Container>,
    instance: &str,
    pod_ip: &str,
    mut grace: i64,
    message: String,
) -> Result<(), String> {
    let name = container.map(|c| c.name.as_str());
    cx.events.pod(pod, name, Level::Normal, "Killing", message);
    let pre_stop = container.and_then(|c| {
        c.lifecycle
            .as_ref()
            .and_then(|l| l.pre_stop.as_ref())
            .map(|h| (c, h))
    });
    if let Some((container, handler)) = pre_stop.filter(|_| grace > 0) {
        let started = tokio::time::Instant::now();
        let limit = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        match tokio::time::timeout(limit, hook(cx, handler, container, instance, pod_ip)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => cx.events.pod(
                pod,
                name,
                Level::Warning,
                "FailedPreStopHook",
                format!("PreStopHook failed: {why}"),
            ),
            Err(_) => {
                let why = format!("PreStopHook did not end within the grace period of {grace}s");
                cx.events.pod(pod, name, Level::Warning, "FailedPreStopHook", why);
            }
        }
        let used = i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX);
        grace = grace.saturating_sub(used).max(MIN_AFTER_HOOK);
    }
    cx.engine
        .stop_container(instance, grace)
        .await
        .map_err(|s| s.message().to_owned())
}

/// Stops everything of a pod: its containers together, then sidecars in reverse order, then its sandboxes.
pub(super) async fn pod(
    cx: Arc<Context>,
    pod: Arc<Pod>,
    observed: Arc<Observed>,
    grace: i64,
) -> Result<(), String> {
    let ips = super::start::pod_ips(&cx, &pod, &observed);
    let ip = ips.first().cloned().unwrap_or_default();
    let inits = pod
        .spec
        .as_ref()
        .and_then(|s| s.init_containers.as_deref())
        .unwrap_or_default();
    let sidecar = |name: &str| {
        inits
            .iter()
            .position(|c| c.name == name && is_restartable_init(c))
    };
    let live = |state: State| matches!(state, State::Running | State::Created | State::Unknown);
    let started = tokio::time::Instant::now();
    let stop = |name: String, id: String, grace: i64| {
        let (cx, pod, ip) = (cx.clone(), pod.clone(), ip.clone());
        async move {
            let c = crate::config::container::find(&pod, &name);
            container(
                &cx,
                &pod,
                c.as_ref(),
                &id,
                &ip,
                grace,
                format!("Stopping container {name}"),
            )
            .await
        }
    };
    let (mut sidecars, mut others) = (Vec::new(), Vec::new());
    for i in observed.instances.iter().filter(|i| live(i.state)) {
        match sidecar(&i.name) {
            Some(position) => sidecars.push((position, i.name.clone(), i.id.clone())),
            None => others.push((i.name.clone(), i.id.clone())),
        }
    }
    let first = futures::future::join_all(others.into_iter().map(|(name, id)| stop(name, id, grace))).await;
    let mut failed: Vec<String> = first.into_iter().filter_map(Result::err).collect();
    sidecars.sort_by_key(|(position, ..)| std::cmp::Reverse(*position));
    for (_, name, id) in sidecars {
        let used = i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX);
        failed.extend(
            stop(
                name,
                id,
                grace.saturating_sub(used).max(MIN_AFTER_HOOK.min(grace)),
            )
            .await
            .err(),
        );
    }
    for sandbox in &observed.sandboxes {
        failed.extend(
            cx.engine
                .stop_sandbox(&sandbox.id)
                .await
                .err()
                .map(|s| s.message().to_owned()),
        );
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}
