//! Writes what was decided: the binding, or why there is none.

use crate::service::Deps;
use crate::world::World;
use api::k8s_openapi::api::core::v1;
use base::ClusterId;
use client::{Api, Client, Patch};
use runtime::EventType;
use runtime::leadership::Claim;
use scheduling::Pod;
use serde_json::json;
use std::sync::Arc;
use tracing::Instrument;

/// The component in events and user agents.
pub(crate) const COMPONENT: &str = "default-scheduler";

/// The account that events are written under.
const ACCOUNT: &str = "kube-scheduler";

fn client(deps: &Deps, cluster: &ClusterId) -> Option<Client> {
    let Claim::Mine(guard) = deps.leadership.claim(cluster) else {
        return None;
    };
    let identity = runtime::Identity {
        role: "kube-scheduler",
        component: "kube-scheduler",
    };
    Some(deps.clients.client(cluster, &identity, guard))
}

/// A Pod that is just enough to record an event about it.
fn mention(pod: &Pod) -> v1::Pod {
    let mut mention = v1::Pod::default();
    mention.metadata.name = Some(pod.key.name.clone());
    mention.metadata.namespace = Some(pod.key.namespace.clone());
    mention.metadata.uid = Some(pod.uid.clone());
    mention
}

/// Binds a pod; if that fails the placement is taken back.
pub(crate) async fn bind(
    deps: Arc<Deps>,
    world: Arc<World>,
    cluster: ClusterId,
    pod: Arc<Pod>,
    node: String,
) {
    let Some(client) = client(&deps, &cluster) else {
        // The slot went to another owner, who decides anew.
        world.not_bound(&cluster, &pod, true);
        return;
    };
    let pods = Api::<v1::Pod>::namespaced(&client, &pod.key.namespace);
    let span =
        tracing::debug_span!("bind", %cluster, namespace = pod.key.namespace, pod = pod.key.name, node);
    match pods
        .bind(&pod.key.name, Some(&pod.uid), &node)
        .instrument(span)
        .await
    {
        Ok(()) => {
            world.bound(&cluster, &pod);
            let message = format!(
                "Successfully assigned {}/{} to {node}",
                pod.key.namespace, pod.key.name
            );
            let about = mention(&pod);
            deps.recorder.event(
                &cluster,
                (COMPONENT, ACCOUNT),
                &about,
                EventType::Normal,
                "Scheduled",
                message,
            );
        }
        Err(error) => {
            let gone = error.is_not_found() || error.is_conflict();
            if !gone {
                tracing::warn!(%cluster, pod = pod.key.name, %error, "cannot bind a pod");
            }
            world.not_bound(&cluster, &pod, !gone);
        }
    }
}

/// Tells users why a pod waits: an event, and the condition `PodScheduled`.
pub(crate) async fn report(deps: Arc<Deps>, cluster: ClusterId, pod: Arc<Pod>, why: String) {
    let Some(client) = client(&deps, &cluster) else {
        return;
    };
    let about = mention(&pod);
    deps.recorder.event(
        &cluster,
        (COMPONENT, ACCOUNT),
        &about,
        EventType::Warning,
        "FailedScheduling",
        why.clone(),
    );
    let now = deps.clock.now_rfc3339();
    let patch = json!({ "metadata": { "uid": pod.uid }, "status": { "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
        "lastProbeTime": null, "lastTransitionTime": now,
    }] } });
    let pods = Api::<v1::Pod>::namespaced(&client, &pod.key.namespace);
    match pods.patch_status(&pod.key.name, &Patch::Strategic(patch)).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => tracing::warn!(%cluster, pod = pod.key.name, %error, "cannot write why a pod waits"),
    }
}
