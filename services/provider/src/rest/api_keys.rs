//! `/v1/projects/{project}/apiKeys`.

use super::App;
use super::authentication::Caller;
use super::reply::{Failure, Reply, not_found};
use crate::api_keys;
use crate::records::{ApiKeyRecord, Batch};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::SignedDuration;
use service_api::{ApiKey, CreateApiKey, CreatedApiKey, ErrorBody, ErrorCode, Page};

const DEFAULT_TTL: u64 = 90 * 24 * 3600;
const TTL: std::ops::RangeInclusive<u64> = 60..=365 * 24 * 3600;

/// Lists the project's keys, without their secrets.
#[utoipa::path(get, path = "/v1/projects/{project}/apiKeys", tag = "apiKeys", params(("project" = String, Path,)),
    responses((status = 200, body = Page<ApiKey>)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(project): Path<String>,
) -> Reply<Json<Page<ApiKey>>> {
    caller.project(&app, &project).await?;
    let keys = app.records.list::<ApiKeyRecord>(None).await?;
    let items = keys
        .into_iter()
        .map(|k| k.value.key)
        .filter(|k| k.project == project)
        .collect();
    Ok(Json(Page {
        items,
        next_page_token: None,
    }))
}

/// Makes a key. The answer is the only place its secret is ever shown.
#[utoipa::path(post, path = "/v1/projects/{project}/apiKeys", tag = "apiKeys", params(("project" = String, Path,)),
    request_body = CreateApiKey, responses((status = 201, body = CreatedApiKey), (status = 400, body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(project): Path<String>,
    body: Result<Json<CreateApiKey>, JsonRejection>,
) -> Reply<(StatusCode, Json<CreatedApiKey>)> {
    caller.project(&app, &project).await?;
    let Json(wanted) = body?;
    let ttl = wanted.ttl_seconds.unwrap_or(DEFAULT_TTL);
    if !TTL.contains(&ttl) {
        let why = format!("between {} and {} seconds", TTL.start(), TTL.end());
        return Err(Failure(ErrorCode::InvalidArgument.at("ttlSeconds", why)));
    }
    if wanted.description.chars().count() > 200 {
        return Err(Failure(
            ErrorCode::InvalidArgument.at("description", "at most 200 characters"),
        ));
    }
    let ttl = SignedDuration::from_secs(i64::try_from(ttl).unwrap_or(i64::MAX));
    let made = api_keys::create(&app.records, &app.clock, &project, wanted.description, ttl).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revokes a key at once.
#[utoipa::path(delete, path = "/v1/projects/{project}/apiKeys/{id}", tag = "apiKeys",
    params(("project" = String, Path,), ("id" = String, Path,)), responses((status = 204), (status = 404, body = ErrorBody)))]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, id)): Path<(String, String)>,
) -> Reply<StatusCode> {
    caller.project(&app, &project).await?;
    let found = app.records.get::<ApiKeyRecord>(None, &id).await?;
    let Some(found) = found.filter(|k| k.value.key.project == project) else {
        return Err(not_found("API key", &id));
    };
    let mut batch = Batch::default();
    batch.require(&app.records, &found)?;
    batch.delete::<ApiKeyRecord>(&app.records, None, &id)?;
    app.records.commit(batch).await?;
    Ok(StatusCode::NO_CONTENT)
}
