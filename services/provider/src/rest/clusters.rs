//! `/v1/projects/{project}/clusters`.

use super::App;
use super::authentication::Caller;
use super::idempotency::{self, Repeat};
use super::reply::{Failure, Reply, not_found};
use crate::flows::{Work, operation};
use crate::records::{AddressRecord, Batch, ClusterRecord, KeysRecord, RecordError, Versioned};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use base::ClusterId;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Deserialize;
use service_api::{
    Cluster, ClusterSpec, ClusterState, ClusterStatus, CreateCluster, ErrorBody, ErrorCode, MAX_PAGE,
    Operation, OperationKind, Page, SlotOwner, Version, check_name,
};
use std::net::{IpAddr, Ipv4Addr};
use store_api::{Consistency, Guard, Range, Span};

/// ClusterIPs of every cluster; clusters are networks of their own, so they may overlap.
const SERVICE_CIDR: &str = "10.96.0.0/16";
/// Pod addresses of every cluster.
const POD_CIDR: &str = "10.128.0.0/12";
/// Roles whose slot owners are shown.
const ROLES: &[&str] = &["scheduler", "controller-manager", "cloud-controller-manager"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Paging {
    page_size: Option<usize>,
    page_token: Option<String>,
}

impl Paging {
    /// The size of the page, and the name it begins after.
    pub(super) fn checked(self) -> Reply<(usize, Option<String>)> {
        let size = self.page_size.unwrap_or(MAX_PAGE);
        if size == 0 || size > MAX_PAGE {
            let why = format!("between 1 and {MAX_PAGE}");
            return Err(Failure(ErrorCode::InvalidArgument.at("pageSize", why)));
        }
        if let Some(token) = &self.page_token {
            let bad = |_| Failure(ErrorCode::InvalidArgument.at("pageToken", "not a token of this list"));
            check_name("token", token).map_err(bad)?;
        }
        Ok((size, self.page_token))
    }
}

/// Lists the project's clusters.
#[utoipa::path(get, path = "/v1/projects/{project}/clusters", tag = "clusters",
    params(("project" = String, Path,), ("pageSize" = Option<usize>, Query,), ("pageToken" = Option<String>, Query,)),
    responses((status = 200, body = Page<Cluster>)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(project): Path<String>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Reply<Json<Page<Cluster>>> {
    caller.project(&app, &project).await?;
    let (size, after) = paging?.0.checked()?;
    let mut found = app
        .records
        .page::<ClusterRecord>(Some(&project), after.as_deref(), size + 1)
        .await?;
    let more = found.len() > size;
    found.truncate(size);
    let next_page_token = more.then(|| found.last().map(|c| c.value.name.clone())).flatten();
    let mut items = Vec::with_capacity(found.len());
    for cluster in found {
        items.push(show(&app, cluster.value, false).await?);
    }
    Ok(Json(Page {
        items,
        next_page_token,
    }))
}

/// One cluster, with who holds its slots.
#[utoipa::path(get, path = "/v1/projects/{project}/clusters/{cluster}", tag = "clusters",
    params(("project" = String, Path,), ("cluster" = String, Path,)),
    responses((status = 200, body = Cluster), (status = 404, body = ErrorBody)))]
pub(super) async fn get(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, name)): Path<(String, String)>,
) -> Reply<Json<Cluster>> {
    caller.project(&app, &project).await?;
    let found = find(&app, &project, &name).await?;
    Ok(Json(show(&app, found.value, true).await?))
}

/// Makes a cluster; usable as soon as the operation has succeeded.
#[utoipa::path(post, path = "/v1/projects/{project}/clusters", tag = "clusters",
    params(("project" = String, Path,), ("idempotency-key" = Option<String>, Header,)), request_body = CreateCluster,
    responses((status = 202, body = Operation), (status = 400, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Result<Json<CreateCluster>, JsonRejection>,
) -> Reply<(StatusCode, Json<Operation>)> {
    caller.project(&app, &project).await?;
    let Json(wanted) = body?;
    check_name("cluster", &wanted.name)?;
    let cloud = wanted.cloud.unwrap_or(app.options.default_cloud);
    if !app.clouds.contains_key(&cloud) {
        let there: Vec<_> = app.clouds.keys().map(ToString::to_string).collect();
        let why = format!(
            "cloud {cloud} is not available here; there is {}",
            there.join(" and ")
        );
        return Err(Failure(ErrorCode::InvalidArgument.at("cloud", why)));
    }
    let repeat = match idempotency::look_up(&app, &headers, &project, "clusters", &wanted).await? {
        Repeat::Again(operation) => return Ok((StatusCode::ACCEPTED, Json(operation))),
        first => first,
    };
    let record = ClusterRecord {
        project: project.clone(),
        name: wanted.name,
        id: ClusterId::generate(),
        created_at: app.clock.now_rfc3339(),
        spec: ClusterSpec {
            version: wanted.version.unwrap_or(Version::NEWEST),
            cloud,
            service_cidr: SERVICE_CIDR.into(),
            pod_cidr: POD_CIDR.into(),
        },
        state: ClusterState::Creating,
        message: String::new(),
        address: free_address(&app).await?,
    };
    let keys = make_keys(&app, &record).await?;
    let operation = operation::begin(
        &app.clock,
        OperationKind::CreateCluster,
        &project,
        record.name.clone(),
        "writing the first objects",
    );
    let mut batch = Batch::default();
    batch.create(&app.records, &record)?;
    batch.create(&app.records, &keys)?;
    let address = AddressRecord {
        address: record.address.to_string(),
        cluster: record.id.clone(),
    };
    batch.create(&app.records, &address)?;
    batch.create(&app.records, &operation)?;
    repeat.remember(&app, &mut batch, &operation)?;
    match app.records.commit(batch).await {
        Ok(_) => {}
        Err(RecordError::Conflict) => {
            let there = app
                .records
                .get::<ClusterRecord>(Some(&project), &record.name)
                .await?
                .is_some();
            return Err(Failure(if there {
                let why = format!("cluster {:?} already exists", record.name);
                ErrorCode::AlreadyExists.at("name", why)
            } else {
                ErrorCode::Unavailable.because("two clusters were given one address; try again")
            }));
        }
        Err(error) => return Err(error.into()),
    }
    app.waker.wake(Work::Cluster {
        project,
        name: record.name,
    });
    Ok((StatusCode::ACCEPTED, Json(operation)))
}

/// Takes a cluster away: its machines, its load balancers, its data.
#[utoipa::path(delete, path = "/v1/projects/{project}/clusters/{cluster}", tag = "clusters",
    params(("project" = String, Path,), ("cluster" = String, Path,)),
    responses((status = 202, body = Operation), (status = 404, body = ErrorBody)))]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, name)): Path<(String, String)>,
) -> Reply<(StatusCode, Json<Operation>)> {
    caller.project(&app, &project).await?;
    let mut found = find(&app, &project, &name).await?;
    if found.value.state == ClusterState::Deleting {
        let why = format!("cluster {name:?} is being deleted already");
        return Err(Failure(ErrorCode::Conflict.because(why)));
    }
    let operation = operation::begin(
        &app.clock,
        OperationKind::DeleteCluster,
        &project,
        name.clone(),
        "taking machines, load balancers and data away",
    );
    found.value.state = ClusterState::Deleting;
    let mut batch = Batch::default();
    batch.update(&app.records, &found)?;
    batch.create(&app.records, &operation)?;
    app.records.commit(batch).await?;
    app.waker.wake(Work::Cluster { project, name });
    Ok((StatusCode::ACCEPTED, Json(operation)))
}

/// A cluster by name, or the error that there is none.
pub(super) async fn find(app: &App, project: &str, name: &str) -> Reply<Versioned<ClusterRecord>> {
    if check_name("cluster", name).is_err() {
        return Err(not_found("cluster", name));
    }
    match app.records.get::<ClusterRecord>(Some(project), name).await? {
        Some(found) => Ok(found),
        None => Err(not_found("cluster", name)),
    }
}

/// The URL of a cluster's API server: an address of its own, because some clients know no `tls-server-name`.
pub(super) fn endpoint(app: &App, record: &ClusterRecord) -> String {
    format!("https://{}:{}", record.address, app.options.api_port)
}

async fn show(app: &App, record: ClusterRecord, with_owners: bool) -> Reply<Cluster> {
    let usage = app.store.usage(&record.id).await.unwrap_or_default();
    let served = auth::Directory::cluster(&*app.directory, &record.id);
    let owners = if with_owners {
        owners(app, &record.id).await?
    } else {
        Vec::new()
    };
    Ok(Cluster {
        status: ClusterStatus {
            state: record.state,
            message: record.message.clone(),
            endpoint: endpoint(app, &record),
            ca_certificate: served.map(|c| c.keys.ca_pem.to_owned()).unwrap_or_default(),
            objects: usage.objects,
            bytes: usage.bytes,
            owners,
        },
        name: record.name,
        project: record.project,
        id: record.id.to_string(),
        created_at: record.created_at,
        spec: record.spec,
    })
}

async fn owners(app: &App, id: &ClusterId) -> Reply<Vec<SlotOwner>> {
    let slot = id.slot();
    let mut owners = Vec::new();
    for role in ROLES {
        let span = Span::one(&Guard::slot_key(role, slot));
        let range = Range {
            span,
            at: None,
            limit: 1,
            consistency: Consistency::Local,
        };
        let found = app.store.range(range).await.map_err(RecordError::from)?;
        for record in found.records {
            let text = String::from_utf8_lossy(&record.value).into_owned();
            let owner = text.split_once(' ').map_or("", |(_, owner)| owner).to_owned();
            let epoch = Guard::epoch_of(&record.value).unwrap_or_default();
            owners.push(SlotOwner {
                role: (*role).into(),
                slot,
                owner,
                epoch,
            });
        }
    }
    Ok(owners)
}

/// An address that no cluster has, found by trying random ones.
async fn free_address(app: &App) -> Reply<IpAddr> {
    let first = u32::from(app.options.first_address);
    for _ in 0..64 {
        let address = Ipv4Addr::from(first + 1 + rand::random_range(0..app.options.addresses.max(2) - 1));
        let taken = app
            .records
            .get::<AddressRecord>(None, &address.to_string())
            .await?
            .is_some();
        if !taken && !matches!(address.octets()[3], 0 | 255) {
            return Ok(address.into());
        }
    }
    Err(Failure(
        ErrorCode::QuotaExceeded.because("no free address for another cluster"),
    ))
}

async fn make_keys(app: &App, record: &ClusterRecord) -> Reply<KeysRecord> {
    let name = app.directory.server_name(&record.id);
    let addresses = [record.address, first_service_address(&record.spec.service_cidr)];
    let names = pki::ServingNames::cluster("cluster.local", &[name, "localhost".into()], &addresses);
    let now = app.clock.now();
    let made = tokio::task::spawn_blocking(move || {
        pki::ClusterKeys::generate(&names, now).map(|keys| BASE64_STANDARD.encode(keys.to_bytes()))
    });
    match made.await {
        Ok(Ok(keys)) => Ok(KeysRecord {
            id: record.id.clone(),
            keys,
        }),
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot make a cluster's keys");
            Err(Failure(
                ErrorCode::Internal.because("the cluster's keys could not be made"),
            ))
        }
        Err(panic) => {
            tracing::error!(%panic, "making a cluster's keys panicked");
            Err(Failure(
                ErrorCode::Internal.because("the cluster's keys could not be made"),
            ))
        }
    }
}

/// The address of the `kubernetes` Service: the first of the range.
fn first_service_address(cidr: &str) -> IpAddr {
    let base = cidr.split('/').next().and_then(|a| a.parse::<Ipv4Addr>().ok());
    base.map_or(Ipv4Addr::UNSPECIFIED, |a| Ipv4Addr::from(u32::from(a) + 1))
        .into()
}
