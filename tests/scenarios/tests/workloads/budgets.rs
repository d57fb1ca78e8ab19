//! Disruption budgets hold pods where evictions would take too many.

use crate::plant::{Plant, is_ready, node_of, until};
use api::Object;
use api::apps::v1::Deployment;
use api::core::v1::{Node, Pod};
use api::policy::v1::PodDisruptionBudget;
use client::{DeleteParams, Patch};
use serde_json::json;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_drain_goes_no_faster_than_the_budget_allows() {
    let plant = Plant::with_nodes(1).await;
    plant
        .create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "i"}]}}}}))
        .await;
    plant
        .create::<PodDisruptionBudget>(json!({"metadata": {"name": "web"},
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}}))
        .await;
    until("one may go", || async {
        let s = plant.api::<PodDisruptionBudget>().get("web").await.ok()?.status?;
        let counts = (
            s.current_healthy,
            s.desired_healthy,
            s.expected_pods,
            s.disruptions_allowed,
        );
        (counts == (Some(3), Some(2), Some(3), Some(1))).then_some(())
    })
    .await;
    plant.add_node("n2");
    // What `kubectl drain` does: cordon, then evict until nothing is left, again when refused.
    let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    plant.api::<Node>().patch("n1", &cordon).await.unwrap();
    let pods = plant.pods("web").await;
    let api = plant.api::<Pod>();
    api.evict(pods[0].name(), &DeleteParams::default()).await.unwrap();
    let refused = api
        .evict(pods[1].name(), &DeleteParams::default())
        .await
        .unwrap_err();
    assert!(
        refused.is_too_many_requests() && refused.has_cause("DisruptionBudget"),
        "{refused}"
    );
    assert!(api.get_opt(pods[1].name()).await.unwrap().is_some());
    let mut refusals = 0;
    for _ in 0..3000 {
        let all = plant.pods("web").await;
        assert!(
            all.iter().filter(|p| is_ready(p)).count() >= 2,
            "the budget is kept at every moment"
        );
        let Some(next) = all
            .iter()
            .find(|p| node_of(p) == "n1" && p.metadata.deletion_timestamp.is_none())
        else {
            break;
        };
        match api.evict(next.name(), &DeleteParams::default()).await {
            Ok(()) => {}
            Err(e) if e.is_too_many_requests() => refusals += 1,
            Err(e) => assert!(e.is_not_found() || e.is_conflict(), "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(refusals > 0);
    until("all are on the other node", || async {
        let all = plant.pods("web").await;
        (all.len() == 3 && all.iter().all(|p| node_of(p) == "n2" && is_ready(p))).then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn preemption_spares_a_budget_where_it_can() {
    let plant = Plant::with_nodes(1).await;
    for (name, value) in [("low", 1), ("middle", 5), ("high", 1000)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        plant.create::<api::scheduling::v1::PriorityClass>(class).await;
    }
    let pod = |class: &str| {
        json!({"metadata": {"name": class, "labels": {"app": class}}, "spec": {"priorityClassName": class,
            "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}}}]}})
    };
    plant
        .create::<PodDisruptionBudget>(json!({"metadata": {"name": "low"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "low"}}}}))
        .await;
    for class in ["low", "middle"] {
        plant.create::<Pod>(pod(class)).await;
    }
    until("the node is full and the budget knows its pod", || async {
        let budget = plant.api::<PodDisruptionBudget>().get("low").await.ok()?.status?;
        let full = [plant.pods("low").await, plant.pods("middle").await]
            .iter()
            .all(|pods| pods.iter().any(is_ready));
        (full && budget.current_healthy == Some(1) && budget.disruptions_allowed == Some(0)).then_some(())
    })
    .await;
    plant.create::<Pod>(pod("high")).await;
    until("the important pod runs", || async {
        plant.pods("high").await.iter().any(is_ready).then_some(())
    })
    .await;
    assert!(
        plant.pods("middle").await.is_empty(),
        "the one that no budget guards went"
    );
    assert!(is_ready(&plant.pods("low").await[0]));
}
