//! What a node does now and then: rotate logs, remove what nobody owns, keep images within bounds.

use crate::context::Context;
use crate::logs::rotate;
use crate::manager::Manager;
use crate::names::POD_UID;
use crate::observed::State;
use base::Shutdown;
use jiff::{SignedDuration, Timestamp};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(10);
/// Dead instances of a container that are kept, for `kubectl logs --previous`.
const KEEP_DEAD: usize = 2;
/// Images are removed when the disk is fuller than this, percent, until it is as empty as the second.
const IMAGE_HIGH: u64 = 85;
const IMAGE_LOW: u64 = 80;
/// An image must have been unused for this long.
const IMAGE_AGE: SignedDuration = SignedDuration::from_secs(120);

/// Works until `shutdown`.
pub async fn run(cx: Arc<Context>, manager: Manager, limits: rotate::Limits, shutdown: Shutdown) {
    let work = async {
        let mut unused: HashMap<String, Timestamp> = HashMap::new();
        loop {
            tokio::time::sleep(PERIOD).await;
            if let Err(status) = tidy(&cx, &manager, limits, &mut unused).await {
                tracing::debug!("housekeeping stopped short: {}", status.message());
            }
        }
    };
    shutdown.run_until(work).await;
}

async fn tidy(
    cx: &Arc<Context>,
    manager: &Manager,
    limits: rotate::Limits,
    unused: &mut HashMap<String, Timestamp>,
) -> Result<(), tonic::Status> {
    let containers = cx.engine.containers(None).await?;
    let mut dead: HashMap<(String, String), Vec<&cri::v1::Container>> = HashMap::new();
    let stamp = cx.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
    for c in &containers {
        let uid = c.labels.get(POD_UID).cloned().unwrap_or_default();
        let name = c
            .labels
            .get(crate::names::CONTAINER_NAME)
            .cloned()
            .unwrap_or_default();
        if c.state == cri::v1::ContainerState::ContainerRunning as i32 {
            rotate_log(cx, c, limits, &stamp).await;
        } else if manager.knows(&uid) {
            dead.entry((uid, name)).or_default().push(c);
        }
    }
    for instances in dead.values_mut() {
        instances.sort_by_key(|c| std::cmp::Reverse(c.created_at));
        for old in instances.iter().skip(KEEP_DEAD) {
            cx.engine.remove_container(&old.id).await?;
            if let (Some(pod), Some(meta)) = (pod_of(manager, old), &old.metadata) {
                remove_log(cx, &pod, &meta.name, meta.attempt, &old.id);
            }
        }
    }
    burstable_weight(cx, manager);
    images(cx, &containers, unused).await
}

fn pod_of(manager: &Manager, c: &cri::v1::Container) -> Option<Arc<crate::k8s::Pod>> {
    manager.find(
        c.labels.get(crate::names::POD_NAMESPACE)?,
        c.labels.get(crate::names::POD_NAME)?,
    )
}

fn remove_log(cx: &Context, pod: &crate::k8s::Pod, name: &str, attempt: u32, id: &str) {
    let path = cx
        .paths
        .pod_log_dir(pod)
        .join(crate::names::Paths::log_file(name, attempt));
    for file in rotate::rotated(&path)
        .unwrap_or_default()
        .into_iter()
        .chain([path, cx.paths.log_link(pod, name, id)])
    {
        // Whatever is not there need not be removed.
        let _absent = std::fs::remove_file(file);
    }
}

async fn rotate_log(cx: &Context, c: &cri::v1::Container, limits: rotate::Limits, stamp: &str) {
    let label = |key: &str| c.labels.get(key).map(String::as_str).unwrap_or_default();
    let dir = format!(
        "{}_{}_{}",
        label(crate::names::POD_NAMESPACE),
        label(crate::names::POD_NAME),
        label(POD_UID)
    );
    let Some(meta) = &c.metadata else { return };
    let path = cx
        .paths
        .logs()
        .join(dir)
        .join(crate::names::Paths::log_file(&meta.name, meta.attempt));
    match rotate::rotate(&cx.engine, &c.id, &path, limits, stamp).await {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => tracing::warn!(path = %path.display(), "log not rotated: {e}"),
    }
}

/// The burstable class weighs as much as its pods request together.
fn burstable_weight(cx: &Context, manager: &Manager) {
    use crate::resources::{Qos, pod_request, qos, shares};
    let Some(groups) = &cx.cgroups else { return };
    let pods = manager.pods();
    let burstable = pods
        .iter()
        .filter_map(|p| p.spec.as_ref())
        .filter(|s| qos(s) == Qos::Burstable);
    let total: i64 = burstable.map(|s| pod_request(s, "cpu")).sum();
    if let Err(error) = groups.set_burstable_shares(shares(total)) {
        tracing::debug!("weight of the burstable class not set: {error}");
    }
}

/// Removes images that nobody uses while the disk is too full, those unused longest first.
async fn images(
    cx: &Context,
    containers: &[cri::v1::Container],
    unused: &mut HashMap<String, Timestamp>,
) -> Result<(), tonic::Status> {
    let Some((size, free)) = crate::node::facts::disk(cx.paths.root()) else {
        return Ok(());
    };
    let used_percent = |free: u64| 100 - free.saturating_mul(100) / size.max(1);
    if used_percent(free) < IMAGE_HIGH {
        unused.clear();
        return Ok(());
    }
    let now = cx.clock.now();
    let in_use: HashSet<&str> = containers
        .iter()
        .flat_map(|c| [c.image_ref.as_str(), c.image_id.as_str()])
        .collect();
    let images = cx.engine.images().await?;
    unused.retain(|id, _| images.iter().any(|i| i.id == *id));
    let mut candidates = Vec::new();
    for image in images.iter().filter(|i| !i.pinned) {
        if in_use.contains(image.id.as_str()) {
            unused.remove(&image.id);
            continue;
        }
        let since = *unused.entry(image.id.clone()).or_insert(now);
        if now.duration_since(since) >= IMAGE_AGE {
            candidates.push((since, image));
        }
    }
    candidates.sort_by_key(|(since, _)| *since);
    for (_, image) in candidates {
        let free = crate::node::facts::disk(cx.paths.root()).map_or(0, |(_, free)| free);
        if used_percent(free) < IMAGE_LOW {
            break;
        }
        let spec = cri::v1::ImageSpec {
            image: image.id.clone(),
            ..Default::default()
        };
        cx.engine.remove_image(spec).await?;
        tracing::info!(image = image.id, "unused image removed");
    }
    Ok(())
}

/// Ends and removes what the runtime has of pods that no source knows: deleted while the kubelet was down.
pub async fn remove_orphans(cx: &Arc<Context>, uids: HashSet<String>) {
    for uid in uids {
        let observed = match cx.engine.observe(&uid, &Default::default()).await {
            Ok(observed) => observed,
            Err(status) => {
                tracing::warn!(pod = uid, "orphan not looked at: {}", status.message());
                continue;
            }
        };
        let live = observed
            .instances
            .iter()
            .filter(|i| matches!(i.state, State::Running | State::Created));
        for instance in live {
            if let Err(status) = cx
                .engine
                .stop_container(&instance.id, crate::config::DEFAULT_GRACE)
                .await
            {
                tracing::warn!(
                    container = instance.id,
                    "orphan not stopped: {}",
                    status.message()
                );
            }
        }
        for sandbox in &observed.sandboxes {
            let stopped = cx.engine.stop_sandbox(&sandbox.id).await;
            if let Err(status) = stopped.and(cx.engine.remove_sandbox(&sandbox.id).await) {
                tracing::warn!(sandbox = sandbox.id, "orphan not removed: {}", status.message());
            }
        }
        if let Err(error) = cx.volumes.remove(&uid).await {
            tracing::warn!(pod = uid, "orphan's volumes stay: {error}");
        }
        tracing::info!(pod = uid, "orphan removed");
    }
}

/// Directories of pods that neither a source nor the runtime knows.
pub async fn remove_orphaned_directories(cx: &Arc<Context>, manager: &Manager) {
    let entries = std::fs::read_dir(cx.paths.pods()).into_iter().flatten().flatten();
    for uid in entries.filter_map(|e| e.file_name().into_string().ok()) {
        if !manager.knows(&uid)
            && let Err(error) = cx.volumes.remove(&uid).await
        {
            tracing::warn!(pod = uid, "directory stays: {error}");
        }
    }
}
