//! `/v1/projects/{project}/clusters/{cluster}/nodePools`.

use super::App;
use super::authentication::Caller;
use super::clusters::{Paging, find};
use super::idempotency::{self, Repeat};
use super::reply::{Failure, Reply, not_found};
use crate::flows::{Work, operation};
use crate::records::{Batch, ClusterRecord, PoolRecord, RecordError, Versioned};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use service_api::{
    ClusterState, CreateNodePool, ErrorBody, ErrorCode, NodePool, NodePoolSpec, NodePoolState,
    NodePoolStatus, Operation, OperationKind, Page, PoolNode, UpdateNodePool, check_name,
    node_pool::MAX_NODES,
};

/// Lists the cluster's node pools.
#[utoipa::path(get, path = "/v1/projects/{project}/clusters/{cluster}/nodePools", tag = "nodePools",
    params(("project" = String, Path,), ("cluster" = String, Path,), ("pageSize" = Option<usize>, Query,),
        ("pageToken" = Option<String>, Query,)),
    responses((status = 200, body = Page<NodePool>)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, cluster)): Path<(String, String)>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Reply<Json<Page<NodePool>>> {
    caller.project(&app, &project).await?;
    let owner = find(&app, &project, &cluster).await?.value;
    let (size, after) = paging?.0.checked()?;
    let parent = Some(owner.id.as_str());
    let mut found = app
        .records
        .page::<PoolRecord>(parent, after.as_deref(), size + 1)
        .await?;
    let more = found.len() > size;
    found.truncate(size);
    let next_page_token = more.then(|| found.last().map(|p| p.value.name.clone())).flatten();
    let items = found.into_iter().map(|p| show(p.value)).collect();
    Ok(Json(Page {
        items,
        next_page_token,
    }))
}

/// One node pool with its machines.
#[utoipa::path(get, path = "/v1/projects/{project}/clusters/{cluster}/nodePools/{pool}", tag = "nodePools",
    params(("project" = String, Path,), ("cluster" = String, Path,), ("pool" = String, Path,)),
    responses((status = 200, body = NodePool), (status = 404, body = ErrorBody)))]
pub(super) async fn get(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, cluster, name)): Path<(String, String, String)>,
) -> Reply<Json<NodePool>> {
    caller.project(&app, &project).await?;
    let (_, pool) = find_pool(&app, &project, &cluster, &name).await?;
    Ok(Json(show(pool.value)))
}

/// Makes a node pool; the operation succeeds when all its nodes are Ready.
#[utoipa::path(post, path = "/v1/projects/{project}/clusters/{cluster}/nodePools", tag = "nodePools",
    params(("project" = String, Path,), ("cluster" = String, Path,), ("idempotency-key" = Option<String>, Header,)),
    request_body = CreateNodePool,
    responses((status = 202, body = Operation), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, cluster)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Json<CreateNodePool>, JsonRejection>,
) -> Reply<(StatusCode, Json<Operation>)> {
    caller.project(&app, &project).await?;
    let Json(wanted) = body?;
    check_name("node pool", &wanted.name)?;
    check_size(wanted.nodes)?;
    let owner = find(&app, &project, &cluster).await?;
    if owner.value.state == ClusterState::Deleting {
        let why = format!("cluster {cluster:?} is being deleted");
        return Err(Failure(ErrorCode::Conflict.because(why)));
    }
    let scope = format!("clusters/{cluster}/nodePools");
    let repeat = match idempotency::look_up(&app, &headers, &project, &scope, &wanted).await? {
        Repeat::Again(operation) => return Ok((StatusCode::ACCEPTED, Json(operation))),
        first => first,
    };
    let spec = spec(&app, &owner.value, &wanted)?;
    let target = format!("{cluster}/{}", wanted.name);
    let stage = format!("0 of {} machines", spec.nodes);
    let operation = operation::begin(
        &app.clock,
        OperationKind::CreateNodePool,
        &project,
        target,
        &stage,
    );
    let record = PoolRecord {
        cluster: owner.value.id.clone(),
        project: project.clone(),
        cluster_name: cluster,
        name: wanted.name,
        created_at: app.clock.now_rfc3339(),
        spec,
        state: NodePoolState::Updating,
        message: String::new(),
        machines: Vec::new(),
        next: 1,
        operation: Some(operation.id.clone()),
    };
    let mut batch = Batch::default();
    batch.require(&app.records, &owner)?;
    batch.create(&app.records, &record)?;
    batch.create(&app.records, &operation)?;
    repeat.remember(&app, &mut batch, &operation)?;
    match app.records.commit(batch).await {
        Ok(_) => {}
        Err(RecordError::Conflict) => {
            let parent = Some(record.cluster.as_str());
            let there = app
                .records
                .get::<PoolRecord>(parent, &record.name)
                .await?
                .is_some();
            return Err(Failure(if there {
                let why = format!("node pool {:?} already exists", record.name);
                ErrorCode::AlreadyExists.at("name", why)
            } else {
                ErrorCode::Conflict.because("the cluster was changed meanwhile; try again")
            }));
        }
        Err(error) => return Err(error.into()),
    }
    app.waker.wake(Work::Pool {
        cluster: record.cluster,
        name: record.name,
    });
    Ok((StatusCode::ACCEPTED, Json(operation)))
}

/// Changes the number of machines.
#[utoipa::path(patch, path = "/v1/projects/{project}/clusters/{cluster}/nodePools/{pool}", tag = "nodePools",
    params(("project" = String, Path,), ("cluster" = String, Path,), ("pool" = String, Path,)), request_body = UpdateNodePool,
    responses((status = 202, body = Operation), (status = 404, body = ErrorBody)))]
pub(super) async fn update(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, cluster, name)): Path<(String, String, String)>,
    body: Result<Json<UpdateNodePool>, JsonRejection>,
) -> Reply<(StatusCode, Json<Operation>)> {
    caller.project(&app, &project).await?;
    let Json(wanted) = body?;
    check_size(wanted.nodes)?;
    let (_, mut pool) = find_pool(&app, &project, &cluster, &name).await?;
    refuse_if_leaving(&pool)?;
    pool.value.spec.nodes = wanted.nodes;
    pool.value.state = NodePoolState::Updating;
    let stage = format!("towards {} machines", wanted.nodes);
    change(&app, pool, OperationKind::ResizeNodePool, &stage).await
}

/// Takes a node pool and its machines away.
#[utoipa::path(delete, path = "/v1/projects/{project}/clusters/{cluster}/nodePools/{pool}", tag = "nodePools",
    params(("project" = String, Path,), ("cluster" = String, Path,), ("pool" = String, Path,)),
    responses((status = 202, body = Operation), (status = 404, body = ErrorBody)))]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, cluster, name)): Path<(String, String, String)>,
) -> Reply<(StatusCode, Json<Operation>)> {
    caller.project(&app, &project).await?;
    let (_, mut pool) = find_pool(&app, &project, &cluster, &name).await?;
    refuse_if_leaving(&pool)?;
    pool.value.state = NodePoolState::Deleting;
    change(
        &app,
        pool,
        OperationKind::DeleteNodePool,
        "taking its machines away",
    )
    .await
}

/// Writes a changed pool together with the operation that stands for the change, and wakes the flow. An operation that
/// the pool was still busy with is ended: the new wish replaces the old one.
async fn change(
    app: &App,
    mut pool: Versioned<PoolRecord>,
    kind: OperationKind,
    stage: &str,
) -> Reply<(StatusCode, Json<Operation>)> {
    let project = pool.value.project.clone();
    let target = format!("{}/{}", pool.value.cluster_name, pool.value.name);
    let operation = operation::begin(&app.clock, kind, &project, target, stage);
    let replaced = pool.value.operation.replace(operation.id.clone());
    let mut batch = Batch::default();
    batch.update(&app.records, &pool)?;
    batch.create(&app.records, &operation)?;
    app.records.commit(batch).await?;
    if let Some(replaced) = replaced {
        let outcome = Err("replaced by a later change".to_owned());
        operation::end(&app.records, &app.clock, &project, &replaced, outcome).await?;
    }
    app.waker.wake(Work::Pool {
        cluster: pool.value.cluster,
        name: pool.value.name,
    });
    Ok((StatusCode::ACCEPTED, Json(operation)))
}

fn refuse_if_leaving(pool: &Versioned<PoolRecord>) -> Reply<()> {
    if pool.value.state == NodePoolState::Deleting {
        let why = format!("node pool {:?} is being deleted", pool.value.name);
        return Err(Failure(ErrorCode::Conflict.because(why)));
    }
    Ok(())
}

fn check_size(nodes: u32) -> Reply<()> {
    if nodes > MAX_NODES {
        let why = format!("at most {MAX_NODES} nodes in one pool");
        return Err(Failure(ErrorCode::InvalidArgument.at("nodes", why)));
    }
    Ok(())
}

fn spec(app: &App, owner: &ClusterRecord, wanted: &CreateNodePool) -> Reply<NodePoolSpec> {
    let unavailable = || Failure(ErrorCode::Unavailable.because("the cluster's cloud is not available now"));
    let cloud = app.clouds.get(&owner.spec.cloud).ok_or_else(unavailable)?;
    let zones = cloud.zones();
    let types = cloud.instances().ok_or_else(unavailable)?.types();
    let chosen = match &wanted.zones {
        None => zones.clone(),
        Some(chosen) => {
            let mut chosen = chosen.clone();
            chosen.sort();
            chosen.dedup();
            if chosen.is_empty() || chosen.iter().any(|z| !zones.contains(z)) {
                let why = format!("the zones are {}", zones.join(", "));
                return Err(Failure(ErrorCode::InvalidArgument.at("zones", why)));
            }
            chosen
        }
    };
    let instance_type = match &wanted.instance_type {
        None => types.first().map(|t| t.name.clone()).ok_or_else(unavailable)?,
        Some(name) if types.iter().any(|t| t.name == *name) => name.clone(),
        Some(_) => {
            let names: Vec<_> = types.iter().map(|t| t.name.as_str()).collect();
            let why = format!("the instance types are {}", names.join(", "));
            return Err(Failure(ErrorCode::InvalidArgument.at("instanceType", why)));
        }
    };
    Ok(NodePoolSpec {
        nodes: wanted.nodes,
        instance_type,
        zones: chosen,
    })
}

async fn find_pool(
    app: &App,
    project: &str,
    cluster: &str,
    name: &str,
) -> Reply<(ClusterRecord, Versioned<PoolRecord>)> {
    let owner = find(app, project, cluster).await?.value;
    if check_name("node pool", name).is_err() {
        return Err(not_found("node pool", name));
    }
    match app
        .records
        .get::<PoolRecord>(Some(owner.id.as_str()), name)
        .await?
    {
        Some(pool) => Ok((owner, pool)),
        None => Err(not_found("node pool", name)),
    }
}

fn show(record: PoolRecord) -> NodePool {
    let nodes: Vec<PoolNode> = record
        .machines
        .into_iter()
        .map(|m| PoolNode {
            name: m.node,
            zone: m.zone,
            instance: m.instance.unwrap_or_default(),
            address: m.address,
            ready: m.ready,
        })
        .collect();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    NodePool {
        status: NodePoolStatus {
            state: record.state,
            message: record.message,
            machines: count(nodes.iter().filter(|n| !n.instance.is_empty()).count()),
            ready: count(nodes.iter().filter(|n| n.ready).count()),
            nodes,
        },
        name: record.name,
        cluster: record.cluster_name,
        created_at: record.created_at,
        spec: record.spec,
    }
}
