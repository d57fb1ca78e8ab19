//! `/v1/projects/{project}/operations`.

use super::App;
use super::authentication::Caller;
use super::reply::{Reply, not_found};
use crate::records::RecordError;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use service_api::{ErrorBody, Operation, Page};
use std::time::Duration;
use store_api::{Span, WatchMessage, WatchRequest};

/// The longest a request waits for news.
const MAX_WAIT: u64 = 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Waiting {
    /// Answer at the next change of stage or state, or after this many seconds.
    #[serde(default)]
    wait_seconds: u64,
    /// The stage that the caller has seen.
    stage: Option<String>,
}

/// Lists the project's operations of the last day, oldest first.
#[utoipa::path(get, path = "/v1/projects/{project}/operations", tag = "operations", params(("project" = String, Path,)),
    responses((status = 200, body = Page<Operation>)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(project): Path<String>,
) -> Reply<Json<Page<Operation>>> {
    caller.project(&app, &project).await?;
    let found = app.records.list::<Operation>(Some(&project)).await?;
    Ok(Json(Page {
        items: found.into_iter().map(|op| op.value).collect(),
        next_page_token: None,
    }))
}

/// One operation. With `waitSeconds` the answer comes when it has ended or its stage is not `stage` any more.
#[utoipa::path(get, path = "/v1/projects/{project}/operations/{id}", tag = "operations",
    params(("project" = String, Path,), ("id" = String, Path,), ("waitSeconds" = Option<u64>, Query,),
        ("stage" = Option<String>, Query,)),
    responses((status = 200, body = Operation), (status = 404, body = ErrorBody)))]
pub(super) async fn get(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((project, id)): Path<(String, String)>,
    waiting: Result<Query<Waiting>, QueryRejection>,
) -> Reply<Json<Operation>> {
    caller.project(&app, &project).await?;
    let Query(waiting) = waiting?;
    let key = app.records.key::<Operation>(Some(&project), &id)?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(waiting.wait_seconds.min(MAX_WAIT));
    let request = WatchRequest {
        span: Span::one(&key),
        from: None,
    };
    let mut watch = app.store.watch(request).await.map_err(RecordError::from)?;
    loop {
        let Some(found) = app.records.get::<Operation>(Some(&project), &id).await? else {
            return Err(not_found("operation", &id));
        };
        let news = waiting
            .stage
            .as_deref()
            .is_some_and(|seen| seen != found.value.stage);
        if found.value.state.is_final() || news || tokio::time::Instant::now() >= deadline {
            return Ok(Json(found.value));
        }
        match tokio::time::timeout_at(deadline, watch.messages.recv()).await {
            Ok(Some(WatchMessage::Events { .. } | WatchMessage::Progress { .. })) => {}
            Ok(None | Some(WatchMessage::Failed(_))) | Err(_) => return Ok(Json(found.value)),
        }
    }
}
