//! The behaviour that every provider shares, as checks that run on any of them.
//!
//! A check answers with the first broken promise. Checks only look through the traits, clean up what they made, and wait
//! by tokio's clock, so a provider with virtual time runs them in no time.

use crate::{
    Cloud, CloudError, HealthCheck, InstanceSpec, InstanceState, Instances, Listener, LoadBalancerSpec,
    LoadBalancers, Protocol, TAG_CLUSTER, TAG_NODE_POOL, Tags, Target, VolumeSpec, VolumeState, Volumes,
};
use base::ClusterId;
use std::time::Duration;

/// A promise that the provider broke.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Violation(String);

type Check = Result<(), Violation>;

/// How the suite is run on a provider.
#[derive(Clone, Debug)]
pub struct Options {
    /// An image to boot from; empty for the default.
    pub image: String,
    /// User data for machines.
    pub user_data: Vec<u8>,
    /// How long a machine may take to run, and anything to go away.
    pub patience: Duration,
    /// Distinguishes the names of this run.
    pub run: String,
}

macro_rules! ensure {
    ($cond:expr, $($why:tt)+) => { if !$cond { return Err(Violation(format!($($why)+))); } };
}

/// Runs every check that the provider's capabilities allow.
pub async fn run(cloud: &dyn Cloud, options: &Options) -> Check {
    let zones = cloud.zones();
    ensure!(!zones.is_empty(), "a cloud has at least one zone");
    if let Some(instances) = cloud.instances() {
        instances_keep_their_promises(instances, &zones, options).await?;
    }
    if let Some(balancers) = cloud.load_balancers() {
        load_balancers_keep_their_promises(balancers, options).await?;
    }
    if let (Some(volumes), Some(instances)) = (cloud.volumes(), cloud.instances()) {
        volumes_keep_their_promises(volumes, instances, &zones, options).await?;
    }
    Ok(())
}

fn tags(options: &Options) -> Tags {
    [
        (TAG_CLUSTER, format!("conf-{}", options.run)),
        (TAG_NODE_POOL, "pool".to_owned()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v))
    .collect()
}

fn broken(what: &str) -> impl FnOnce(CloudError) -> Violation + '_ {
    move |error| Violation(format!("{what}: {error}"))
}

async fn instances_keep_their_promises(cloud: &dyn Instances, zones: &[String], options: &Options) -> Check {
    let tags = tags(options);
    let types = cloud.types();
    ensure!(!types.is_empty(), "a cloud has at least one instance type");
    let spec = InstanceSpec {
        name: format!("conf-{}", options.run),
        zone: zones[0].clone(),
        instance_type: types[0].name.clone(),
        image: options.image.clone(),
        user_data: options.user_data.clone(),
        tags: tags.clone(),
        token: format!("conf-i-{}", options.run).as_str().into(),
    };
    for wrong in [
        InstanceSpec {
            zone: "nowhere".into(),
            ..spec.clone()
        },
        InstanceSpec {
            instance_type: "no-such-type".into(),
            ..spec.clone()
        },
        InstanceSpec {
            name: "Not a label".into(),
            ..spec.clone()
        },
        InstanceSpec {
            user_data: vec![0; 16 * 1024 + 1],
            ..spec.clone()
        },
    ] {
        let answer = cloud.create(&wrong).await;
        ensure!(
            matches!(answer, Err(CloudError::Invalid(_))),
            "a wrong specification is Invalid, not {answer:?}"
        );
    }
    let made = cloud.create(&spec).await.map_err(broken("create"))?;
    let again = cloud.create(&spec).await.map_err(broken("create again"))?;
    ensure!(
        made.id == again.id,
        "one token made two instances: {} and {}",
        made.id,
        again.id
    );
    let other = cloud
        .create(&InstanceSpec {
            name: "another".into(),
            ..spec.clone()
        })
        .await;
    ensure!(
        matches!(other, Err(CloudError::Invalid(_))),
        "a token used with another specification is Invalid, not {other:?}"
    );

    let running = wait_running(cloud, &made.id, options).await?;
    ensure!(running.address.is_some(), "a running instance has an address");
    ensure!(
        running
            .provider_id
            .ends_with(&format!(":///{}/{}", spec.zone, made.id)),
        "provider id {} names zone and id",
        running.provider_id
    );
    let listed = cloud.list(&tags).await.map_err(broken("list"))?;
    ensure!(
        listed.len() == 1 && listed[0].id == made.id,
        "list by tags finds exactly the instance: {listed:?}"
    );
    let foreign = Tags::from([(TAG_CLUSTER.to_owned(), "somebody-else".to_owned())]);
    let listed = cloud.list(&foreign).await.map_err(broken("list"))?;
    ensure!(
        listed.iter().all(|i| i.id != made.id),
        "list by tags hides what has other tags"
    );

    cloud.reboot(&made.id).await.map_err(broken("reboot"))?;
    let rebooted = wait_running(cloud, &made.id, options).await?;
    ensure!(
        rebooted.address == running.address,
        "an instance keeps its address over a reboot"
    );
    wait_gone("terminate", options, async || cloud.terminate(&made.id).await).await?;
    let gone = cloud.get(&made.id).await;
    ensure!(
        matches!(gone, Err(CloudError::NotFound(_))),
        "get after terminate answers NotFound, not {gone:?}"
    );
    ensure!(
        cloud.list(&tags).await.map_err(broken("list"))?.is_empty(),
        "what is gone is not listed"
    );
    Ok(())
}

async fn wait_running(
    cloud: &dyn Instances,
    id: &str,
    options: &Options,
) -> Result<crate::Instance, Violation> {
    let deadline = tokio::time::Instant::now() + options.patience;
    loop {
        let now = cloud.get(id).await.map_err(broken("get"))?;
        if now.state == InstanceState::Running {
            return Ok(now);
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "instance {id} is still {:?}",
            now.state
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_gone(what: &str, options: &Options, mut step: impl AsyncFnMut() -> crate::Result<()>) -> Check {
    let deadline = tokio::time::Instant::now() + options.patience;
    loop {
        match step().await {
            Err(CloudError::NotFound(_)) => return Ok(()),
            Ok(()) => {}
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(Violation(format!("{what}: {error}"))),
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "{what} does not come to an end"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn load_balancers_keep_their_promises(cloud: &dyn LoadBalancers, options: &Options) -> Check {
    let name = format!("conf-{}", options.run);
    let cluster: ClusterId = name.parse().map_err(|e| Violation(format!("{e}")))?;
    let target = |port| Target {
        addr: ([127, 0, 0, 1], port).into(),
        zone: None,
    };
    let listener = |port, targets| Listener {
        port,
        protocol: Protocol::Tcp,
        targets,
        health: HealthCheck::Connect,
    };
    let mut spec = LoadBalancerSpec {
        name: name.clone(),
        cluster: cluster.clone(),
        listeners: vec![listener(80, vec![target(30080)])],
        source_ranges: vec![],
        tags: tags(options),
    };
    let made = cloud.ensure(&spec).await.map_err(broken("ensure"))?;
    ensure!(
        made.address.is_some() || made.hostname.is_some(),
        "a load balancer has an address or a name"
    );
    spec.listeners
        .push(listener(443, vec![target(30443), target(30444)]));
    let changed = cloud.ensure(&spec).await.map_err(broken("ensure"))?;
    ensure!(
        changed.id == made.id && changed.address == made.address,
        "a change keeps id and address"
    );
    let read = cloud.get(&cluster, &name).await.map_err(broken("get"))?;
    ensure!(read.spec == spec, "get answers what was ensured last");
    let twice = LoadBalancerSpec {
        listeners: vec![listener(80, vec![]), listener(80, vec![])],
        ..spec.clone()
    };
    let answer = cloud.ensure(&twice).await;
    ensure!(
        matches!(answer, Err(CloudError::Invalid(_))),
        "one port twice is Invalid, not {answer:?}"
    );
    let listed = cloud.list(&spec.tags).await.map_err(broken("list"))?;
    ensure!(listed.len() == 1, "list by tags finds exactly the load balancer");
    wait_gone("delete", options, async || cloud.delete(&cluster, &name).await).await?;
    let gone = cloud.get(&cluster, &name).await;
    ensure!(
        matches!(gone, Err(CloudError::NotFound(_))),
        "get after delete answers NotFound, not {gone:?}"
    );
    Ok(())
}

async fn volumes_keep_their_promises(
    cloud: &dyn Volumes,
    instances: &dyn Instances,
    zones: &[String],
    options: &Options,
) -> Check {
    const SIZE: u64 = 16 << 20;
    let tags = tags(options);
    let token = |what: &str| format!("conf-{what}-{}", options.run).as_str().into();
    let spec = VolumeSpec {
        name: "data".into(),
        zone: zones[0].clone(),
        size: SIZE,
        snapshot: None,
        tags: tags.clone(),
        token: token("v"),
    };
    let volume = cloud.create(&spec).await.map_err(broken("create volume"))?;
    let again = cloud.create(&spec).await.map_err(broken("create volume again"))?;
    ensure!(volume.id == again.id, "one token made two volumes");
    ensure!(volume.size >= SIZE, "a volume is at least as large as asked");

    let machine = instances
        .create(&InstanceSpec {
            name: format!("confv-{}", options.run),
            zone: zones[0].clone(),
            instance_type: instances.types()[0].name.clone(),
            image: options.image.clone(),
            user_data: options.user_data.clone(),
            tags: tags.clone(),
            token: token("vi"),
        })
        .await
        .map_err(broken("create"))?;
    wait_running(instances, &machine.id, options).await?;
    let device = cloud
        .attach(&volume.id, &machine.id)
        .await
        .map_err(broken("attach"))?;
    let same = cloud
        .attach(&volume.id, &machine.id)
        .await
        .map_err(broken("attach again"))?;
    ensure!(device == same, "attaching twice answers the same device");
    let read = cloud.get(&volume.id).await.map_err(broken("get volume"))?;
    ensure!(
        read.state
            == VolumeState::Attached {
                instance: machine.id.clone(),
                device
            },
        "an attached volume says where: {:?}",
        read.state
    );
    let refused = cloud.delete(&volume.id).await;
    ensure!(
        matches!(refused, Err(CloudError::NotReady(_))),
        "an attached volume is not deleted: {refused:?}"
    );
    cloud
        .detach(&volume.id, &machine.id)
        .await
        .map_err(broken("detach"))?;
    cloud
        .detach(&volume.id, &machine.id)
        .await
        .map_err(broken("detach again"))?;

    let snapshot = cloud
        .snapshot(&volume.id, &tags, &token("s"))
        .await
        .map_err(broken("snapshot"))?;
    let small = VolumeSpec {
        size: 1 << 20,
        snapshot: Some(snapshot.id.clone()),
        token: token("small"),
        ..spec.clone()
    };
    let refused = cloud.create(&small).await;
    ensure!(
        matches!(refused, Err(CloudError::Invalid(_))),
        "a volume is never smaller than its snapshot: {refused:?}"
    );
    let copy = VolumeSpec {
        snapshot: Some(snapshot.id.clone()),
        token: token("copy"),
        ..spec.clone()
    };
    let copy = cloud
        .create(&copy)
        .await
        .map_err(broken("create from snapshot"))?;
    let larger = cloud.resize(&copy.id, 2 * SIZE).await.map_err(broken("resize"))?;
    ensure!(larger.size >= 2 * SIZE, "resize enlarges");
    let refused = cloud.resize(&copy.id, SIZE).await;
    ensure!(
        matches!(refused, Err(CloudError::Invalid(_))),
        "a volume never shrinks: {refused:?}"
    );

    wait_gone("terminate", options, async || {
        instances.terminate(&machine.id).await
    })
    .await?;
    for id in [&volume.id, &copy.id] {
        wait_gone("delete volume", options, async || cloud.delete(id).await).await?;
    }
    wait_gone("delete snapshot", options, async || {
        cloud.delete_snapshot(&snapshot.id).await
    })
    .await?;
    ensure!(
        cloud.list(&tags).await.map_err(broken("list"))?.is_empty(),
        "nothing is left"
    );
    Ok(())
}
