//! Simulated machines: each running instance of the `sim` cloud is a fake node.

use base::{ClusterId, Shutdown};
use cloud_api::{Instance, InstanceState, InstanceType, Instances, TAG_CLUSTER, TAG_NODE_POOL, Tags};
use cloud_sim::SimCloud;
use fake_node::{Fleet, NodeSpec};
use std::collections::HashMap;
use std::time::Duration;

/// How soon to look again while machines boot: the simulated cloud tells of what it was asked, not of time that passes.
const BOOTING: Duration = Duration::from_millis(50);

/// Makes fake nodes follow the instances of a simulated cloud, until shutdown.
pub(super) async fn follow(cloud: SimCloud, fleet: Fleet, shutdown: Shutdown) {
    let types: HashMap<String, InstanceType> = Instances::types(&cloud)
        .into_iter()
        .map(|t| (t.name.clone(), t))
        .collect();
    let mut known: HashMap<String, (ClusterId, String)> = HashMap::new();
    let mut changes = cloud.instances_changed();
    loop {
        let mut booting = false;
        if let Ok(all) = Instances::list(&cloud, &Tags::new()).await {
            booting = all.iter().any(|i| i.state == InstanceState::Pending);
            let running: HashMap<&str, &Instance> = all
                .iter()
                .filter(|i| i.state == InstanceState::Running)
                .map(|i| (i.id.as_str(), i))
                .collect();
            known.retain(|id, (cluster, name)| {
                let stays = running.contains_key(id.as_str());
                if !stays {
                    fleet.remove(cluster, name);
                }
                stays
            });
            for instance in running
                .values()
                .filter(|i| !known.contains_key(&i.id))
                .collect::<Vec<_>>()
            {
                let cluster = instance
                    .tags
                    .get(TAG_CLUSTER)
                    .and_then(|c| c.parse::<ClusterId>().ok());
                if let (Some(cluster), Some(spec)) = (cluster, describe(instance, &types)) {
                    fleet.add(&cluster, spec);
                    known.insert(instance.id.clone(), (cluster, instance.name.clone()));
                }
            }
        }
        let change = async {
            if booting {
                tokio::time::sleep(BOOTING).await;
                return Ok(());
            }
            changes.changed().await
        };
        match shutdown.run_until(change).await {
            Some(Ok(())) => {}
            None | Some(Err(_)) => return,
        }
    }
}

fn describe(instance: &Instance, types: &HashMap<String, InstanceType>) -> Option<NodeSpec> {
    let shape = types.get(&instance.instance_type)?;
    Some(NodeSpec {
        name: instance.name.clone(),
        zone: instance.zone.clone(),
        instance_type: instance.instance_type.clone(),
        pool: instance.tags.get(TAG_NODE_POOL).cloned().unwrap_or_default(),
        provider_id: instance.provider_id.clone(),
        address: instance.address?.to_string(),
        milli_cpu: shape.milli_cpu,
        memory: shape.memory,
        max_pods: shape.max_pods,
    })
}
