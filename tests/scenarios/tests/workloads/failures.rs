//! What cannot be placed says why, and what was on a lost node comes back elsewhere.

use crate::plant::{Plant, is_ready, node_of, until};
use api::Object;
use api::apps::v1::Deployment;
use api::core::v1::{Node, Pod};
use client::DeleteParams;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test(start_paused = true)]
async fn pods_of_a_dead_node_come_back_elsewhere() {
    let plant = Plant::with_nodes(2).await;
    let toleration =
        |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 20});
    plant
        .create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": {"replicas": 4,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "tolerations": [toleration("node.kubernetes.io/unreachable"), toleration("node.kubernetes.io/not-ready")],
                "containers": [{"name": "c", "image": "i"}]}}}}))
        .await;
    let ready = |on: &'static str| {
        let plant = &plant;
        async move {
            let all = plant.pods("web").await;
            let alive = |p: &&Pod| p.metadata.deletion_timestamp.is_none() && is_ready(p);
            all.iter()
                .filter(alive)
                .filter(|p| on.is_empty() || node_of(p) == on)
                .count()
        }
    };
    until("all run", || async { (ready("").await == 4).then_some(()) }).await;
    assert!(ready("n1").await > 0 && ready("n2").await > 0, "they are spread");
    let pods = plant.pods("web").await;
    let addresses = pods.iter().filter_map(|p| p.status.as_ref()?.pod_ip.clone());
    let addresses: BTreeSet<_> = addresses.filter(|a| a.starts_with("10.244.")).collect();
    assert_eq!(addresses.len(), 4, "one each, out of the nodes' ranges");
    plant.fleet.remove(plant.tenant.id(), "n1");
    until("all run on the node that is left", || async {
        (ready("n2").await == 4).then_some(())
    })
    .await;
    let stuck = plant.pods("web").await.len();
    assert!(
        stuck > 4,
        "nobody has confirmed that the pods of the dead node ended"
    );
    plant
        .api::<Node>()
        .delete("n1", &DeleteParams::default())
        .await
        .unwrap();
    until("with the node its pods go", || async {
        (plant.pods("web").await.len() == 4).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_place_says_why_and_is_placed_when_room_comes() {
    let plant = Plant::with_nodes(2).await;
    plant
        .create::<Pod>(
            json!({"metadata": {"name": "big", "labels": {"app": "big"}}, "spec": {
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "5"}}}]}}),
        )
        .await;
    plant
        .create::<Pod>(
            json!({"metadata": {"name": "picky", "labels": {"app": "picky"}}, "spec": {
            "nodeSelector": {"disk": "ssd"}, "containers": [{"name": "c", "image": "i"}]}}),
        )
        .await;
    let says = |name: &'static str, text: &'static str| {
        let plant = &plant;
        until("the event tells why", move || async move {
            let told = plant.events(name).await;
            told.contains(&("FailedScheduling".to_owned(), text.to_owned()))
                .then_some(())
        })
    };
    says(
        "big",
        "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: \
         2 Preemption is not helpful for scheduling.",
    )
    .await;
    says(
        "picky",
        "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, \
         preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
    )
    .await;
    let waits = plant.api::<Pod>().get("big").await.unwrap();
    let scheduled = waits.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let scheduled = scheduled
        .into_iter()
        .find(|c| c.type_ == "PodScheduled")
        .expect("the condition is there");
    assert_eq!(
        (scheduled.status.as_str(), scheduled.reason.as_deref()),
        ("False", Some("Unschedulable"))
    );
    let label = client::Patch::Merge(json!({"metadata": {"labels": {"disk": "ssd"}}}));
    plant.api::<Node>().patch("n2", &label).await.unwrap();
    until("the picky one has its node", || async {
        let pods = plant.pods("picky").await;
        (pods.len() == 1 && node_of(&pods[0]) == "n2" && is_ready(&pods[0])).then_some(())
    })
    .await;
    assert_eq!(plant.pods("big").await[0].name(), "big");
}

#[tokio::test(start_paused = true)]
async fn an_important_pod_takes_the_place_of_those_that_matter_less() {
    let plant = Plant::with_nodes(1).await;
    for (name, value) in [("low", 1), ("high", 1000)] {
        plant
            .create::<api::scheduling::v1::PriorityClass>(json!({"metadata": {"name": name}, "value": value}))
            .await;
    }
    let pod = |name: &str, class: &str, cpu: &str| {
        json!({"metadata": {"name": name, "labels": {"app": class}}, "spec": {"priorityClassName": class,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}})
    };
    let running = |app: &'static str| {
        let plant = &plant;
        async move { plant.pods(app).await.iter().filter(|p| is_ready(p)).count() }
    };
    for name in ["a", "b"] {
        plant.create::<Pod>(pod(name, "low", "2")).await;
    }
    until("the node is full", || async {
        (running("low").await == 2).then_some(())
    })
    .await;
    plant.create::<Pod>(pod("vip", "high", "2")).await;
    until("the important pod runs", || async {
        (running("high").await == 1).then_some(())
    })
    .await;
    assert_eq!(plant.pods("low").await.len(), 1, "no more than needed went");
    let mut told = plant.events("a").await;
    told.extend(plant.events("b").await);
    let preempted = told
        .iter()
        .filter(|(reason, m)| reason == "Preempted" && m.ends_with(" on node n1"));
    assert_eq!(preempted.count(), 1, "{told:#?}");
}
