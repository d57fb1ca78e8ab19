//! Jobs end, are counted, and start when their time has come.

use crate::plant::{Plant, until};
use api::Object;
use api::batch::v1::{CronJob, Job};
use api::core::v1::Pod;
use client::ListParams;
use serde_json::{Value, json};
use std::time::Duration;

/// A template whose containers end after five seconds.
fn template() -> Value {
    json!({"metadata": {"labels": {"app": "work"}, "annotations": {"sim.marina.dev/run-seconds": "5"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}})
}

async fn completes(plant: &Plant, name: &str) -> Job {
    until("the job is complete", || async {
        let job = plant.api::<Job>().get_opt(name).await.ok()??;
        let conditions = job.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let complete = conditions
            .into_iter()
            .any(|c| c.type_ == "Complete" && c.status == "True");
        complete.then_some(job)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_job_completes_holds_no_pod_back_and_goes_after_its_time() {
    let plant = Plant::with_nodes(2).await;
    plant
        .create::<Job>(
            json!({"metadata": {"name": "once"}, "spec": {"completions": 3, "parallelism": 2,
            "ttlSecondsAfterFinished": 60, "template": template()}}),
        )
        .await;
    let job = completes(&plant, "once").await;
    let status = job.status.unwrap();
    assert_eq!(
        (status.succeeded, status.failed, status.active),
        (Some(3), None, None)
    );
    assert!(status.completion_time > status.start_time);
    let pods = plant.pods("work").await;
    assert_eq!(pods.len(), 3);
    assert!(
        pods.iter().all(|p| p.metadata.finalizers.is_none()),
        "counted pods are free"
    );
    until("the event tells of it", || async {
        plant
            .events("once")
            .await
            .contains(&("Completed".into(), "Job completed".into()))
            .then_some(())
    })
    .await;
    until("the job and its pods are gone", || async {
        let gone =
            plant.api::<Job>().get_opt("once").await.ok()?.is_none() && plant.pods("work").await.is_empty();
        gone.then_some(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_indexed_job_runs_each_index_once() {
    let plant = Plant::with_nodes(2).await;
    plant
        .create::<Job>(
            json!({"metadata": {"name": "parts"}, "spec": {"completions": 4, "parallelism": 2,
            "completionMode": "Indexed", "template": template()}}),
        )
        .await;
    let status = completes(&plant, "parts").await.status.unwrap();
    assert_eq!(
        (status.completed_indexes.as_deref(), status.succeeded),
        (Some("0-3"), Some(4))
    );
    let index = |p: &Pod| {
        p.metadata
            .annotations
            .as_ref()?
            .get("batch.kubernetes.io/job-completion-index")
            .cloned()
    };
    let mut found: Vec<_> = plant.pods("work").await.iter().filter_map(index).collect();
    found.sort();
    assert_eq!(found, ["0", "1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_fires_at_its_minutes() {
    let plant = Plant::with_nodes(1).await;
    plant
        .create::<CronJob>(
            json!({"metadata": {"name": "tick"}, "spec": {"schedule": "*/10 * * * *",
            "jobTemplate": {"spec": {"template": template()}}}}),
        )
        .await;
    let jobs = || async {
        plant
            .api::<Job>()
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
    };
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(jobs().await.is_empty(), "not before its time");
    tokio::time::sleep(Duration::from_secs(330)).await;
    let made = jobs().await;
    let start: jiff::Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].name(), format!("tick-{}", start.as_second() / 60));
    completes(&plant, made[0].name()).await;
    let cron = until("the CronJob knows", || async {
        let cron = plant.api::<CronJob>().get("tick").await.ok()?.status?;
        (cron.active.is_none() && cron.last_successful_time.is_some()).then_some(cron)
    })
    .await;
    assert_eq!(cron.last_schedule_time.map(|t| t.0), Some(start));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(jobs().await.len(), 2);
}
