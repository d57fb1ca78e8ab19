//! Makes a cluster usable, and takes it away again.
//!
//! Creation: the record, the keys and the operation are written in one transaction by the REST handler; a pass puts the
//! cluster into the directory and writes its first objects. Deletion: pools and their machines go first, then what the
//! cloud holds in the cluster's name (load balancers, volumes), then its data, and the record last, so that a crash
//! in between leaves something to go on with.

use super::{FlowError, Next, operation};
use crate::records::{AddressRecord, Batch, ClusterRecord, KeysRecord, PoolRecord, RecordError};
use crate::service::Deps;
use cloud_api::{CloudError, TAG_CLUSTER, Tags};
use service_api::{ClusterState, Operation, OperationKind, OperationState};
use std::time::Duration;

pub(super) async fn pass(deps: &Deps, project: &str, name: &str) -> Result<Next, FlowError> {
    let Some(found) = deps.records.get::<ClusterRecord>(Some(project), name).await? else {
        return Ok(Next::Wait);
    };
    match found.value.state {
        ClusterState::Creating | ClusterState::Degraded => create(deps, found.value).await,
        ClusterState::Deleting => delete(deps, found.value).await,
        ClusterState::Active => Ok(Next::Wait),
    }
}

async fn create(deps: &Deps, record: ClusterRecord) -> Result<Next, FlowError> {
    let Some(keys) = deps.records.get::<KeysRecord>(None, record.id.as_str()).await? else {
        return Ok(Next::Wait);
    };
    let cluster = deps.directory.describe(&record, &keys.value)?;
    deps.access.bootstrap(&cluster).await?;
    deps.directory.insert(cluster);
    set_state(deps, &record, ClusterState::Active, "").await?;
    end_operations(deps, &record, OperationKind::CreateCluster).await?;
    operation::forget_old(&deps.records, &deps.clock, &record.project).await?;
    Ok(Next::Wait)
}

async fn delete(deps: &Deps, record: ClusterRecord) -> Result<Next, FlowError> {
    let pools = deps.records.list::<PoolRecord>(Some(record.id.as_str())).await?;
    if !pools.is_empty() {
        for pool in pools {
            super::pool::mark_deleting(deps, &record.id, &pool.value.name).await?;
        }
        return Ok(Next::After(Duration::from_millis(100)));
    }
    // From here on no request reaches the cluster, so no controller of it makes anything new in the cloud.
    deps.directory.remove(&record.id);
    if !release_cloud(deps, &record).await? {
        return Ok(Next::After(Duration::from_millis(100)));
    }
    deps.store
        .remove_cluster(&record.id)
        .await
        .map_err(RecordError::from)?;
    deps.access.forget(&record.id);
    let mut batch = Batch::default();
    batch.delete::<KeysRecord>(&deps.records, None, record.id.as_str())?;
    batch.delete::<AddressRecord>(&deps.records, None, &record.address.to_string())?;
    batch.delete::<ClusterRecord>(&deps.records, Some(&record.project), &record.name)?;
    deps.records.commit(batch).await?;
    end_operations(deps, &record, OperationKind::DeleteCluster).await?;
    Ok(Next::Wait)
}

/// Deletes what the cloud still holds in the cluster's name; whether there is nothing any more.
async fn release_cloud(deps: &Deps, record: &ClusterRecord) -> Result<bool, FlowError> {
    let Some(cloud) = deps.clouds.get(&record.spec.cloud) else {
        return Ok(true);
    };
    let tags = Tags::from([(TAG_CLUSTER.to_owned(), record.id.to_string())]);
    let mut clean = true;
    let gone = |answer: Result<(), CloudError>| match answer {
        Err(CloudError::NotFound(_)) => Ok(true),
        Ok(()) => Ok(false),
        Err(error) => Err(error),
    };
    if let Some(balancers) = cloud.load_balancers() {
        for balancer in balancers.list(&tags).await? {
            clean &= gone(balancers.delete(&record.id, &balancer.spec.name).await)?;
        }
    }
    if let Some(instances) = cloud.instances() {
        for instance in instances.list(&tags).await? {
            clean &= gone(instances.terminate(&instance.id).await)?;
        }
    }
    if let Some(volumes) = cloud.volumes() {
        for volume in volumes.list(&tags).await? {
            clean &= gone(volumes.delete(&volume.id).await)?;
        }
    }
    Ok(clean)
}

async fn set_state(
    deps: &Deps,
    record: &ClusterRecord,
    state: ClusterState,
    message: &str,
) -> Result<(), RecordError> {
    let change = |r: &mut ClusterRecord| {
        let news = r.id == record.id && r.state != ClusterState::Deleting && r.state != state;
        if news {
            r.state = state;
            r.message = message.into();
        }
        news
    };
    deps.records
        .modify(Some(&record.project), &record.name, change)
        .await
        .map(|_: Option<_>| ())
}

async fn end_operations(deps: &Deps, record: &ClusterRecord, kind: OperationKind) -> Result<(), RecordError> {
    for op in deps.records.list::<Operation>(Some(&record.project)).await? {
        let op = op.value;
        if op.state != OperationState::Running || op.target != record.name {
            continue;
        }
        let outcome = if op.kind == kind {
            Ok(())
        } else {
            Err("the cluster was deleted meanwhile".into())
        };
        operation::end(&deps.records, &deps.clock, &record.project, &op.id, outcome).await?;
    }
    Ok(())
}
