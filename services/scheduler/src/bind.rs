//! Writes what was decided: the binding, why there is none, who has to go.

use crate::queue::Attempt;
use crate::service::Deps;
use crate::world::World;
use api::k8s_openapi::api::core::v1;
use base::ClusterId;
use client::{Api, Client, DeleteParams, Patch};
use runtime::EventType;
use runtime::leadership::Claim;
use scheduling::{Pod, Preemption};
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
    (pod, attempt): (Arc<Pod>, Attempt),
    node: String,
) {
    let Some(client) = client(&deps, &cluster) else {
        // The slot went to another owner, who decides anew.
        deps.metrics.failed(&pod, attempt);
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
            deps.metrics.scheduled(&pod, attempt);
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
            deps.metrics.failed(&pod, attempt);
            world.not_bound(&cluster, &pod, !gone);
        }
    }
}

/// Tells users why a pod waits: an event, and the condition `PodScheduled`; and the node that is being cleared for it.
pub(crate) async fn report(
    deps: &Deps,
    cluster: &ClusterId,
    pod: &Pod,
    why: String,
    nominated: Option<String>,
) {
    let Some(client) = client(deps, cluster) else {
        return;
    };
    let about = mention(pod);
    deps.recorder.event(
        cluster,
        (COMPONENT, ACCOUNT),
        &about,
        EventType::Warning,
        "FailedScheduling",
        shortened(&why),
    );
    let now = deps.clock.now_rfc3339();
    let mut status = json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
        "lastProbeTime": null, "lastTransitionTime": now,
    }] });
    if let Some(node) = nominated {
        status["nominatedNodeName"] = node.into();
    }
    let patch = json!({ "metadata": { "uid": pod.uid }, "status": status });
    let pods = Api::<v1::Pod>::namespaced(&client, &pod.key.namespace);
    match pods.patch_status(&pod.key.name, &Patch::Strategic(patch)).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() || error.is_conflict() => {}
        Err(error) => tracing::warn!(%cluster, pod = pod.key.name, %error, "cannot write why a pod waits"),
    }
}

/// An event's message has a limit; the condition says all.
fn shortened(message: &str) -> String {
    const MOST: usize = 1024;
    const MORE: &str = " ...";
    if message.len() <= MOST {
        return message.to_owned();
    }
    let end = message.floor_char_boundary(MOST - MORE.len());
    format!("{}{MORE}", &message[..end])
}

/// Sends pods away for a more important one: the condition `DisruptionTarget` says why, then they are deleted.
pub(crate) async fn preempt(deps: &Deps, world: &World, cluster: &ClusterId, pod: &Pod, found: &Preemption) {
    let Some(client) = client(deps, cluster) else {
        world.not_preempted(cluster, pod);
        return;
    };
    deps.metrics.preempted(found.victims.len());
    for victim in &found.victims {
        if let Err(error) = send_away(deps, &client, victim, &pod.scheduler).await {
            tracing::warn!(%cluster, pod = victim.key.name, %error, "cannot preempt a pod");
            world.not_preempted(cluster, pod);
            return;
        }
        deps.recorder.event(
            cluster,
            (COMPONENT, ACCOUNT),
            &mention(victim),
            EventType::Normal,
            "Preempted",
            format!("Preempted by pod {} on node {}", pod.uid, found.node),
        );
    }
}

/// One that is gone, or is on its way, is no error.
async fn send_away(deps: &Deps, client: &Client, victim: &Pod, scheduler: &str) -> Result<(), client::Error> {
    let pods = Api::<v1::Pod>::namespaced(client, &victim.key.namespace);
    let gone = |error: &client::Error| error.is_not_found() || error.is_conflict();
    if victim.terminating {
        return Ok(());
    }
    let patch = json!({ "metadata": { "uid": victim.uid }, "status": { "conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "lastProbeTime": null, "lastTransitionTime": deps.clock.now_rfc3339(),
    }] } });
    match pods
        .patch_status(&victim.key.name, &Patch::Strategic(patch))
        .await
    {
        Ok(_) => {}
        Err(error) if gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    let params = DeleteParams::default().uid(&victim.uid);
    match pods.delete(&victim.key.name, &params).await {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}
