//! `/v1/projects`.

use super::App;
use super::authentication::Caller;
use super::reply::{Failure, Reply};
use crate::records::{Batch, RecordError};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use service_api::{CreateProject, ErrorBody, ErrorCode, Page, Project, check_name};

/// Lists the projects that the key gives access to.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", responses((status = 200, body = Page<Project>)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Reply<Json<Page<Project>>> {
    let mut items = Vec::new();
    for project in app.records.list::<Project>(None).await? {
        if caller.project(&app, &project.value.name).await.is_ok() {
            items.push(project.value);
        }
    }
    Ok(Json(Page {
        items,
        next_page_token: None,
    }))
}

/// Makes a project. Only the operator may.
#[utoipa::path(post, path = "/v1/projects", tag = "projects", request_body = CreateProject,
    responses((status = 201, body = Project), (status = 409, body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<CreateProject>, JsonRejection>,
) -> Reply<(StatusCode, Json<Project>)> {
    let Json(wanted) = body?;
    if !caller.is_operator() {
        return Err(Failure(
            ErrorCode::PermissionDenied.because("only the operator makes projects"),
        ));
    }
    check_name("project", &wanted.name)?;
    let project = Project {
        name: wanted.name,
        created_at: app.clock.now_rfc3339(),
    };
    let mut batch = Batch::default();
    batch.create(&app.records, &project)?;
    match app.records.commit(batch).await {
        Ok(_) => Ok((StatusCode::CREATED, Json(project))),
        Err(RecordError::Conflict) => {
            let why = format!("project {:?} already exists", project.name);
            Err(Failure(ErrorCode::AlreadyExists.because(why)))
        }
        Err(error) => Err(error.into()),
    }
}
