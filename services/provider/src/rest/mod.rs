//! The REST API v1: axum, with its OpenAPI document made from the same declarations.
//!
//! A handler checks, writes an intent in one transaction, wakes a flow and answers. Errors are [`ErrorBody`] with the
//! right status; nothing panics on input; bodies are limited.

mod api_keys;
mod authentication;
mod clusters;
mod health;
mod idempotency;
mod images;
mod kubeconfig;
mod node_pools;
mod operations;
mod projects;
mod reply;
mod tracing;

use crate::service::Deps;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Bodies other than image archives are at most this long.
const MAX_BODY: usize = 64 * 1024;

#[derive(OpenApi)]
#[openapi(info(
    title = "Marina REST API",
    version = "v1",
    description = "Projects, Kubernetes clusters, node pools and the operations that change them."
))]
struct Document;

type App = Arc<Deps>;

/// All routes. `/v1/openapi.json` and the health checks need no key; those of `operator` need the operator's.
pub(crate) fn router(deps: App, operator: Router) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(api_keys::list, api_keys::create))
        .routes(routes!(api_keys::delete))
        .routes(routes!(clusters::list, clusters::create))
        .routes(routes!(clusters::get, clusters::delete))
        .routes(routes!(kubeconfig::kubeconfig))
        .routes(routes!(kubeconfig::credential))
        .routes(routes!(node_pools::list, node_pools::create))
        .routes(routes!(node_pools::get, node_pools::update, node_pools::delete))
        .routes(routes!(operations::list))
        .routes(routes!(operations::get))
        .routes(routes!(images::list))
        .split_for_parts();
    let authenticated = router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(images::upload_route())
        .layer(axum::middleware::from_fn_with_state(
            deps.clone(),
            authentication::require_key,
        ))
        .with_state(deps.clone());
    let operator = operator
        .layer(axum::middleware::from_fn(authentication::require_operator))
        .layer(axum::middleware::from_fn_with_state(
            deps.clone(),
            authentication::require_key,
        ));
    authenticated
        .merge(operator)
        .route("/v1/openapi.json", get(async move || Json(document)))
        .merge(health::routes(deps))
        .layer(axum::middleware::from_fn(tracing::span))
        .fallback(reply::no_such_path)
        .method_not_allowed_fallback(reply::method_not_allowed)
}
