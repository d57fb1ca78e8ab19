//! Deployments, StatefulSets and DaemonSets come, change and go.

use crate::plant::{Plant, created, is_ready, node_of, until};
use api::Object;
use api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use api::core::v1::Pod;
use client::{ListParams, Patch};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": "100m"}}}]}})
}

fn images(pods: &[Pod]) -> BTreeSet<String> {
    let image = |p: &Pod| p.spec.as_ref()?.containers[0].image.clone();
    pods.iter().filter_map(image).collect()
}

async fn rolled_out(plant: &Plant, image: &str) {
    until("the rollout is complete", || async {
        let d = plant.api::<Deployment>().get("web").await.ok()?;
        let s = d.status.unwrap_or_default();
        let pods = plant.pods("web").await;
        let done = s.observed_generation == d.metadata.generation
            && (s.updated_replicas, s.available_replicas, s.replicas) == (Some(3), Some(3), Some(3))
            && images(&pods).contains(image)
            && pods.len() == 3;
        done.then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_rolls_out_and_back_and_tells_of_it() {
    let plant = Plant::with_nodes(2).await;
    let deployments = plant.api::<Deployment>();
    plant
        .create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")}}))
        .await;
    rolled_out(&plant, "v1").await;
    let made = deployments.get("web").await.unwrap();
    assert_eq!(
        made.metadata.generation,
        Some(1),
        "only what its users want counts"
    );
    assert!(plant.pods("web").await.iter().all(|p| !node_of(p).is_empty()));
    let sets = || async {
        plant
            .api::<ReplicaSet>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    };
    let first = sets().await.remove(0);

    let change = |image: &str| Patch::Strategic(json!({"spec": {"template": template(image)}}));
    deployments.patch("web", &change("v2")).await.unwrap();
    rolled_out(&plant, "v2").await;
    // What `kubectl rollout undo` does: the template of the earlier ReplicaSet again.
    deployments.patch("web", &change("v1")).await.unwrap();
    rolled_out(&plant, "v1").await;
    let all = sets().await;
    assert_eq!(all.len(), 2, "the earlier ReplicaSet is used again");
    let again = all
        .iter()
        .find(|s| s.metadata.uid == first.metadata.uid)
        .expect("it is there");
    assert_eq!(again.spec.replicas, Some(3));
    assert_eq!(
        again.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"],
        "3"
    );

    let told = until("all events were written", || async {
        let told = plant.events("web").await;
        let last = told
            .iter()
            .any(|(_, m)| m.starts_with("Scaled down replica set") && m.ends_with("from 1 to 0"));
        last.then_some(told)
    })
    .await;
    let first = first.name().to_owned();
    for (reason, message) in [
        (
            "ScalingReplicaSet",
            format!("Scaled up replica set {first} from 0 to 3"),
        ),
        ("SuccessfulCreate", format!("Created pod: {first}-")),
        ("Scheduled", format!("Successfully assigned default/{first}-")),
        ("SuccessfulDelete", format!("Deleted pod: {first}-")),
    ] {
        let found = told.iter().any(|(r, m)| r == reason && m.starts_with(&message));
        assert!(found, "{reason} {message}: {told:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_comes_in_order_changes_in_reverse_and_shrinks_from_the_end() {
    let plant = Plant::with_nodes(2).await;
    let sets = plant.api::<StatefulSet>();
    plant
        .create::<StatefulSet>(
            json!({"metadata": {"name": "db"}, "spec": {"replicas": 3, "serviceName": "db",
            "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")}}),
        )
        .await;
    let settled = |image: &'static str, size: usize| {
        let plant = &plant;
        until("the set has settled", move || async move {
            let set = plant.api::<StatefulSet>().get("db").await.ok()?;
            let s = set.status.unwrap_or_default();
            let pods = plant.pods("web").await;
            let done = s.current_revision == s.update_revision
                && s.observed_generation == set.metadata.generation
                && pods.len() == size
                && pods.iter().all(is_ready)
                && images(&pods) == BTreeSet::from([image.to_owned()])
                && s.ready_replicas == i32::try_from(size).ok();
            done.then_some(pods)
        })
    };
    let order = |pods: &[Pod]| {
        let mut pods: Vec<_> = pods
            .iter()
            .map(|p| (created(&p.metadata), p.name().to_owned()))
            .collect();
        pods.sort();
        pods.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
    };
    let pods = settled("v1", 3).await;
    assert_eq!(order(&pods), ["db-0", "db-1", "db-2"]);
    let times: BTreeSet<_> = pods.iter().map(|p| created(&p.metadata)).collect();
    assert_eq!(times.len(), 3, "each waited until the one before it was ready");
    let change = Patch::Strategic(json!({"spec": {"template": template("v2")}}));
    sets.patch("db", &change).await.unwrap();
    assert_eq!(order(&settled("v2", 3).await), ["db-2", "db-1", "db-0"]);
    sets.patch("db", &Patch::Merge(json!({"spec": {"replicas": 1}})))
        .await
        .unwrap();
    let left = settled("v2", 1).await;
    assert_eq!(left[0].name(), "db-0");
    let told = plant.events("db").await;
    let expected = (
        "SuccessfulCreate".to_owned(),
        "create Pod db-0 in StatefulSet db successful".to_owned(),
    );
    assert!(told.contains(&expected), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_is_on_every_node_even_on_cordoned_and_on_later_ones() {
    let plant = Plant::with_nodes(3).await;
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    plant
        .api::<api::core::v1::Node>()
        .patch("n2", &cordon)
        .await
        .unwrap();
    plant
        .create::<DaemonSet>(json!({"metadata": {"name": "agent"}, "spec": {
            "selector": {"matchLabels": {"app": "web"}}, "template": template("v1")}}))
        .await;
    let covers = |nodes: &'static [&'static str], image: &'static str| {
        let plant = &plant;
        until("there is one ready pod on every node", move || async move {
            let pods = plant.pods("web").await;
            let here: Vec<&str> = pods.iter().map(node_of).collect();
            let set = plant.api::<DaemonSet>().get("agent").await.ok()?.status?;
            let done = pods.len() == nodes.len()
                && nodes.iter().all(|n| here.contains(n))
                && pods.iter().all(is_ready)
                && images(&pods) == BTreeSet::from([image.to_owned()])
                && usize::try_from(set.number_available?).ok()? == nodes.len()
                && set.updated_number_scheduled == set.number_available;
            done.then_some(())
        })
    };
    covers(&["n1", "n2", "n3"], "v1").await;
    plant.add_node("n4");
    covers(&["n1", "n2", "n3", "n4"], "v1").await;
    let change = Patch::Strategic(json!({"spec": {"template": template("v2")}}));
    plant.api::<DaemonSet>().patch("agent", &change).await.unwrap();
    covers(&["n1", "n2", "n3", "n4"], "v2").await;
}
