//! The simulated cloud keeps the promises of every cloud, and breaks them only as scripted.

use cloud_api::{Cloud, CloudError, InstanceSpec, Tags, conformance};
use cloud_sim::{Fault, Operation, Options, SimCloud};
use std::time::Duration;

fn spec(token: &str) -> InstanceSpec {
    InstanceSpec {
        name: "n1".into(),
        zone: "a".into(),
        instance_type: "small".into(),
        image: String::new(),
        user_data: vec![],
        tags: Tags::new(),
        token: token.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_suite_passes() {
    let cloud = SimCloud::new(Options::default());
    let options = conformance::Options {
        image: String::new(),
        user_data: b"hello".to_vec(),
        patience: Duration::from_secs(5),
        run: "sim".into(),
    };
    conformance::run(&cloud, &options).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_does_not_make_a_second_machine() {
    let cloud = SimCloud::new(Options::default());
    cloud.inject(Fault {
        operation: Operation::CreateInstance,
        times: 1,
        latency: Some(Duration::from_secs(30)),
        error: Some(CloudError::Throttled {
            retry_after: Duration::from_secs(1),
        }),
        after_effect: true,
    });
    let instances = cloud.instances().unwrap();
    let lost = instances.create(&spec("t")).await;
    assert!(matches!(lost, Err(CloudError::Throttled { .. })));
    instances.create(&spec("t")).await.unwrap();
    assert_eq!(instances.list(&Tags::new()).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_zone_says_so_and_the_next_zone_still_takes() {
    let cloud = SimCloud::new(Options {
        zone_capacity: 1,
        quota: 2,
        ..Options::default()
    });
    let instances = cloud.instances().unwrap();
    instances.create(&spec("1")).await.unwrap();
    let full = instances.create(&spec("2")).await;
    assert!(matches!(full, Err(CloudError::InsufficientCapacity(_))));
    instances
        .create(&InstanceSpec {
            zone: "b".into(),
            ..spec("2")
        })
        .await
        .unwrap();
    let over = instances
        .create(&InstanceSpec {
            zone: "c".into(),
            ..spec("3")
        })
        .await;
    assert!(matches!(over, Err(CloudError::QuotaExceeded(_))));
}
