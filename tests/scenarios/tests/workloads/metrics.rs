//! The metrics of the controllers and the scheduler, read as Prometheus reads them, after both have worked.

use crate::plant::{Plant, is_ready, until};
use api::apps::v1::Deployment;
use prometheus_client::encoding::text::encode;
use serde_json::{Value, json};

/// A sample's value: the line that begins with the name and its labels, whatever their order.
fn sample(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name)
            && labels.iter().all(|(k, v)| line.contains(&format!("{k}=\"{v}\"")))
    };
    let line = text.lines().find(fits);
    let line = line.unwrap_or_else(|| panic!("no {name} {labels:?} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn web(name: &str, cpu: &str, replicas: u32) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}}}})
}

#[tokio::test(start_paused = true)]
async fn queues_and_scheduling_are_counted_under_the_names_of_kubernetes() {
    let plant = Plant::with_nodes(1).await;
    plant.create::<Deployment>(web("fits", "100m", 3)).await;
    plant.create::<Deployment>(web("huge", "64", 1)).await;
    until("the pods that fit run and the other waits", || async {
        let running = plant.pods("fits").await.iter().filter(|p| is_ready(p)).count();
        let refused = plant.events("huge").await;
        (running == 3 && refused.iter().any(|(reason, _)| reason == "FailedScheduling")).then_some(())
    })
    .await;
    let mut text = String::new();
    encode(&mut text, &plant.metrics).unwrap();

    for (queue, adds) in [
        ("deployment", 2.0),
        ("replicaset", 2.0),
        ("node_lifecycle_controller", 1.0),
    ] {
        let of = |name: &str| sample(&text, name, &[("name", queue)]);
        let added = of("workqueue_adds_total");
        assert!(added >= adds, "{queue}: {added}");
        assert_eq!(of("workqueue_depth"), 0.0, "{queue}");
        assert_eq!(of("workqueue_queue_duration_seconds_count"), added, "{queue}");
        assert_eq!(of("workqueue_work_duration_seconds_count"), added, "{queue}");
        assert_eq!(of("workqueue_unfinished_work_seconds"), 0.0, "{queue}");
        assert_eq!(of("workqueue_longest_running_processor_seconds"), 0.0, "{queue}");
        of("workqueue_retries_total");
        sample(
            &text,
            "workqueue_work_duration_seconds_bucket",
            &[("name", queue), ("le", "+Inf")],
        );
    }

    let of = |name: &str, labels: &[(&str, &str)]| sample(&text, name, labels);
    let scheduled = [("result", "scheduled"), ("profile", "default-scheduler")];
    let unschedulable = [("result", "unschedulable"), ("profile", "default-scheduler")];
    assert_eq!(of("scheduler_schedule_attempts_total", &scheduled), 3.0);
    assert!(of("scheduler_schedule_attempts_total", &unschedulable) >= 1.0);
    assert_eq!(
        of("scheduler_scheduling_attempt_duration_seconds_count", &scheduled),
        3.0
    );
    assert_eq!(
        of("scheduler_scheduling_algorithm_duration_seconds_count", &[]),
        3.0
    );
    assert_eq!(of("scheduler_pod_scheduling_attempts_count", &[]), 3.0);
    let first = [("attempts", "1")];
    assert_eq!(
        of("scheduler_pod_scheduling_sli_duration_seconds_count", &first),
        3.0
    );
    for (queue, pods) in [("active", 0.0), ("gated", 0.0)] {
        assert_eq!(of("scheduler_pending_pods", &[("queue", queue)]), pods, "{queue}");
    }
    let waits = ["backoff", "unschedulable"].map(|q| of("scheduler_pending_pods", &[("queue", q)]));
    assert_eq!(waits.iter().sum::<f64>(), 1.0);
    let new = [("queue", "active"), ("event", "UnschedulablePodAdd")];
    assert_eq!(of("scheduler_queue_incoming_pods_total", &new), 4.0);
    assert!(of("scheduler_preemption_attempts_total", &[]) >= 1.0);
    assert_eq!(of("scheduler_preemption_victims_count", &[]), 0.0);
    assert!(
        !text.contains("cluster="),
        "series do not grow with the number of clusters"
    );
}
