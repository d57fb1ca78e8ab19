//! Keeps as many machines as a pool wants, spread evenly over its zones.
//!
//! `decide` is pure: it sees the record and says which machines to add and which to let go. Then one transaction writes
//! the intents, and only afterwards the cloud is called, with the node's name as the token: a crash in between repeats
//! the call and gets the same machine.

use super::{FlowError, Next, operation};
use crate::access::NewNode;
use crate::records::{Batch, ClusterRecord, KeysRecord, Machine, PoolRecord, RecordError};
use crate::service::Deps;
use auth::Directory;
use base::ClusterId;
use cloud_api::{
    CloudError, Instance, InstanceSpec, InstanceState, Instances, TAG_CLUSTER, TAG_NODE_POOL, Tags,
};
use futures::{StreamExt, stream};
use service_api::NodePoolState;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Machines that are made or taken away at the same time, for one pool.
const PARALLEL: usize = 8;
/// How often a pool that is not yet as wanted is looked at.
const SOON: Duration = Duration::from_millis(150);
/// How often a pool that is as wanted is looked at, for machines that died.
const LATER: Duration = Duration::from_secs(15);

/// What a pass is going to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Zones of machines to add.
    pub add: Vec<String>,
    /// Nodes whose machines go.
    pub leave: Vec<String>,
}

/// Which machines to add and to let go, so that the zones differ by one at most. The youngest of the fullest zone go
/// first; those that are not ready before those that are.
pub fn decide(pool: &PoolRecord) -> Plan {
    let wanted = if pool.state == NodePoolState::Deleting {
        0
    } else {
        pool.spec.nodes as usize
    };
    let mut zones: BTreeMap<&str, Vec<&Machine>> =
        pool.spec.zones.iter().map(|z| (z.as_str(), Vec::new())).collect();
    let staying: Vec<&Machine> = pool.machines.iter().filter(|m| !m.leaving).collect();
    for machine in &staying {
        zones.entry(&machine.zone).or_default().push(machine);
    }
    let mut plan = Plan::default();
    let mut count = staying.len();
    let mut sizes: BTreeMap<String, usize> = zones.iter().map(|(z, m)| ((*z).to_owned(), m.len())).collect();
    while count < wanted {
        let allowed = sizes.iter().filter(|(zone, _)| pool.spec.zones.contains(zone));
        let Some(zone) = allowed.min_by_key(|(_, n)| **n).map(|(zone, _)| zone.clone()) else {
            break;
        };
        *sizes.entry(zone.clone()).or_default() += 1;
        plan.add.push(zone);
        count += 1;
    }
    while count > wanted {
        let fullest = zones.iter_mut().max_by_key(|(_, machines)| machines.len());
        let Some((_, machines)) = fullest else { break };
        machines.sort_by_key(|m| (!m.ready, pool.machines.iter().position(|other| other == *m)));
        let Some(gone) = machines.pop() else { break };
        plan.leave.push(gone.node.clone());
        count -= 1;
    }
    plan
}

pub(super) async fn pass(deps: &Deps, cluster: &ClusterId, name: &str) -> Result<Next, FlowError> {
    let Some(mut pool) = deps
        .records
        .get::<PoolRecord>(Some(cluster.as_str()), name)
        .await?
    else {
        return Ok(Next::Wait);
    };
    let Some(owner) = deps
        .records
        .get::<ClusterRecord>(Some(&pool.value.project), &pool.value.cluster_name)
        .await?
    else {
        return Ok(Next::Wait);
    };
    let plan = decide(&pool.value);
    if plan != Plan::default() {
        for zone in plan.add {
            let node = format!("{name}-{}", pool.value.next);
            pool.value.next += 1;
            pool.value.machines.push(Machine {
                node,
                zone,
                instance: None,
                address: None,
                ready: false,
                leaving: false,
            });
        }
        for machine in &mut pool.value.machines {
            machine.leaving |= plan.leave.contains(&machine.node);
        }
        let mut batch = Batch::default();
        batch.update(&deps.records, &pool)?;
        match deps.records.commit(batch).await {
            Ok(revision) => pool.revision = revision,
            Err(RecordError::Conflict) => return Ok(Next::After(Duration::ZERO)),
            Err(error) => return Err(error.into()),
        }
    }
    let mut seen = pool.value.clone();
    let trouble = act(deps, &owner.value, &mut seen).await?;
    write_back(deps, &pool.value, seen, trouble).await
}

/// Calls the cloud for every machine, and looks which nodes are ready. What failed comes back as text.
async fn act(deps: &Deps, owner: &ClusterRecord, pool: &mut PoolRecord) -> Result<Option<String>, FlowError> {
    let Some(keys) = deps.records.get::<KeysRecord>(None, owner.id.as_str()).await? else {
        return Ok(None);
    };
    let cluster = deps.directory.describe(owner, &keys.value)?;
    let served = deps.directory.cluster(&owner.id).is_some();
    let ready = if served {
        deps.access.ready_nodes(&cluster).await?
    } else {
        Vec::new()
    };
    let known = match known(deps, owner, pool).await {
        Ok(known) => known,
        Err(error) => return Ok(Some(error.to_string())),
    };
    let machines = std::mem::take(&mut pool.machines);
    let each = machines.into_iter().map(|mut machine| {
        let (cluster, ready, known, pool) = (&cluster, &ready, &known, &*pool);
        async move {
            let outcome = ensure_machine(deps, owner, cluster, pool, known, &mut machine).await;
            machine.ready = !machine.leaving && ready.contains(&machine.node);
            let gone = matches!(outcome, Ok(true));
            if gone && served {
                deps.access.delete_node(cluster, &machine.node).await?;
            }
            Ok::<_, FlowError>((machine, gone, outcome.err()))
        }
    });
    let done: Vec<_> = stream::iter(each).buffered(PARALLEL).collect().await;
    let mut trouble = None;
    for outcome in done {
        let (machine, gone, error) = outcome?;
        if let Some(error) = error {
            trouble = Some(format!("{}: {error}", machine.node));
        }
        if !gone {
            pool.machines.push(machine);
        }
    }
    Ok(trouble)
}

/// Where the cluster's machines are made.
fn instances<'d>(deps: &'d Deps, owner: &ClusterRecord) -> Result<&'d dyn Instances, CloudError> {
    let cloud = deps.clouds.get(&owner.spec.cloud).and_then(|c| c.instances());
    cloud.ok_or_else(|| CloudError::Other(format!("cloud {} makes no machines here", owner.spec.cloud)))
}

fn tags(pool: &PoolRecord) -> Tags {
    Tags::from([
        (TAG_CLUSTER.to_owned(), pool.cluster.to_string()),
        (TAG_NODE_POOL.to_owned(), pool.name.clone()),
    ])
}

/// The pool's machines that the cloud knows, by node, if there is one that the record does not know yet. One that was made
/// just before a crash has user data of its own, with keys that nobody wrote down, so its token alone would not find it.
async fn known(
    deps: &Deps,
    owner: &ClusterRecord,
    pool: &PoolRecord,
) -> Result<HashMap<String, Instance>, CloudError> {
    if pool.machines.iter().all(|m| m.instance.is_some()) {
        return Ok(HashMap::new());
    }
    let all = instances(deps, owner)?.list(&tags(pool)).await?;
    let there = all.into_iter().filter(|i| i.state != InstanceState::Terminating);
    Ok(there.map(|i| (i.name.clone(), i)).collect())
}

/// Makes one machine, or takes it away; whether it is gone.
async fn ensure_machine(
    deps: &Deps,
    owner: &ClusterRecord,
    cluster: &auth::Cluster,
    pool: &PoolRecord,
    known: &HashMap<String, Instance>,
    machine: &mut Machine,
) -> Result<bool, FlowError> {
    let instances = instances(deps, owner)?;
    if machine.leaving {
        let found = known.get(&machine.node).map(|i| &i.id);
        let Some(id) = machine.instance.as_ref().or(found) else {
            return Ok(true);
        };
        return match instances.terminate(id).await {
            Err(CloudError::NotFound(_)) => Ok(true),
            Ok(()) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
    if let Some(id) = &machine.instance {
        return match instances.get(id).await {
            Ok(instance) => {
                machine.address = instance.address.map(|a| a.to_string());
                let dead = matches!(
                    instance.state,
                    InstanceState::Terminating | InstanceState::Stopped
                );
                machine.leaving |= dead;
                Ok(false)
            }
            // Somebody destroyed the machine: its node goes, and the next pass makes another.
            Err(CloudError::NotFound(_)) => Ok(true),
            Err(error) => Err(error.into()),
        };
    }
    let node = NewNode {
        name: &machine.node,
        pool: &pool.name,
        zone: &machine.zone,
        instance_type: &pool.spec.instance_type,
    };
    let token = format!("{}-{}", cluster.id, machine.node);
    let instance = match known.get(&machine.node) {
        Some(instance) if instance.state == InstanceState::Running => instance.clone(),
        _ => {
            let spec = InstanceSpec {
                name: machine.node.clone(),
                zone: machine.zone.clone(),
                instance_type: pool.spec.instance_type.clone(),
                image: deps.node_image.clone(),
                user_data: deps.user_data.user_data(cluster, &node)?,
                tags: tags(pool),
                token: token.as_str().into(),
            };
            instances.create(&spec).await?
        }
    };
    machine.instance = Some(instance.id);
    machine.address = instance.address.map(|a| a.to_string());
    Ok(false)
}

/// Merges what was seen into the record, which users may have changed meanwhile.
async fn write_back(
    deps: &Deps,
    before: &PoolRecord,
    seen: PoolRecord,
    trouble: Option<String>,
) -> Result<Next, FlowError> {
    let (parent, name) = (Some(before.cluster.as_str()), before.name.as_str());
    let mut ended = None;
    let merge = |now: &mut PoolRecord| {
        let old = serde_json::to_value(&*now).ok();
        // Only passes write machines, and passes of one pool never overlap.
        now.machines.clone_from(&seen.machines);
        now.message = trouble.clone().unwrap_or_default();
        let settled = now.machines.iter().filter(|m| m.ready && !m.leaving).count()
            == now.spec.nodes as usize
            && now.machines.len() == now.spec.nodes as usize;
        ended = None;
        if now.state != NodePoolState::Deleting {
            now.state = match (&trouble, settled) {
                (Some(_), _) => NodePoolState::Degraded,
                (None, true) => NodePoolState::Active,
                (None, false) => NodePoolState::Updating,
            };
            if settled && trouble.is_none() {
                ended = now.operation.take();
            }
        }
        old != serde_json::to_value(&*now).ok()
    };
    let Some(now) = deps.records.modify::<PoolRecord>(parent, name, merge).await? else {
        return Ok(Next::Wait);
    };
    let records = &deps.records;
    if let Some(op) = ended {
        operation::end(records, &deps.clock, &now.project, &op, Ok(())).await?;
    }
    if now.state == NodePoolState::Deleting && now.machines.is_empty() {
        let mut batch = Batch::default();
        batch.delete::<PoolRecord>(records, parent, name)?;
        records.commit(batch).await?;
        if let Some(op) = &now.operation {
            operation::end(records, &deps.clock, &now.project, op, Ok(())).await?;
        }
        return Ok(Next::Wait);
    }
    if let Some(op) = &now.operation {
        let ready = now.machines.iter().filter(|m| m.ready).count();
        let there = now.machines.iter().filter(|m| m.instance.is_some()).count();
        let wanted = now.spec.nodes;
        let stage = match &trouble {
            Some(why) => format!("waiting: {why}"),
            None => format!("{there} of {wanted} machines, {ready} of {wanted} nodes ready"),
        };
        operation::stage(records, &now.project, op, &stage).await?;
    }
    if let Some(why) = trouble {
        tracing::warn!(cluster = %before.cluster, pool = name, why, "a pool is not as wanted");
        return Ok(Next::After(Duration::from_secs(2)));
    }
    Ok(Next::After(if now.state == NodePoolState::Active {
        LATER
    } else {
        SOON
    }))
}

/// Begins the deletion of a pool.
pub(super) async fn mark_deleting(deps: &Deps, cluster: &ClusterId, name: &str) -> Result<(), RecordError> {
    let change = |pool: &mut PoolRecord| {
        let news = pool.state != NodePoolState::Deleting;
        pool.state = NodePoolState::Deleting;
        news
    };
    deps.records.modify(Some(cluster.as_str()), name, change).await?;
    deps.waker.wake(super::Work::Pool {
        cluster: cluster.clone(),
        name: name.into(),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use service_api::NodePoolSpec;

    fn pool(nodes: u32, machines: &[(&str, &str, bool)]) -> PoolRecord {
        PoolRecord {
            cluster: "c".parse().unwrap(),
            project: "p".into(),
            cluster_name: "shop".into(),
            name: "web".into(),
            created_at: String::new(),
            spec: NodePoolSpec {
                nodes,
                instance_type: "small".into(),
                zones: vec!["a".into(), "b".into(), "c".into()],
            },
            state: NodePoolState::Updating,
            message: String::new(),
            machines: machines
                .iter()
                .map(|(node, zone, ready)| Machine {
                    node: (*node).into(),
                    zone: (*zone).into(),
                    instance: None,
                    address: None,
                    ready: *ready,
                    leaving: false,
                })
                .collect(),
            next: 0,
            operation: None,
        }
    }

    #[test]
    fn new_machines_fill_the_emptiest_zones() {
        assert_eq!(decide(&pool(3, &[])).add, ["a", "b", "c"]);
        assert_eq!(decide(&pool(4, &[("x", "b", true)])).add, ["a", "c", "a"]);
    }

    #[test]
    fn machines_leave_the_fullest_zone_and_the_unready_first() {
        let machines = [
            ("x", "a", true),
            ("y", "a", false),
            ("z", "b", true),
            ("w", "a", true),
        ];
        assert_eq!(decide(&pool(3, &machines)).leave, ["y"]);
        assert_eq!(decide(&pool(2, &machines)).leave, ["y", "w"]);
    }

    #[test]
    fn a_pool_that_goes_lets_everything_go() {
        let mut gone = pool(3, &[("x", "a", true), ("y", "b", true)]);
        gone.state = NodePoolState::Deleting;
        let plan = decide(&gone);
        assert!(plan.add.is_empty());
        assert_eq!(plan.leave.len(), 2);
    }

    #[test]
    fn a_pool_without_zones_adds_nothing() {
        let mut none = pool(3, &[]);
        none.spec.zones.clear();
        assert_eq!(decide(&none), Plan::default());
    }
}
