//! `/v1/images`: images loaded from files, for nodes of the embedded cloud.

use super::App;
use super::authentication::Caller;
use super::reply::{Failure, Reply};
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::put;
use axum::{Extension, Json, Router};
use futures::StreamExt;
use service_api::{ErrorCode, Image, LoadedImages, Page};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::AsyncWriteExt;

/// The largest archive.
const MAX_ARCHIVE: u64 = 8 << 30;

fn none() -> Failure {
    Failure(ErrorCode::NotImplemented.because("this service keeps no images; push to a registry instead"))
}

/// Lists the loaded images.
#[utoipa::path(get, path = "/v1/images", tag = "images", responses((status = 200, body = Page<Image>)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(_caller): Extension<Caller>,
) -> Reply<Json<Page<Image>>> {
    let store = app.images.as_ref().ok_or_else(none)?;
    let items = store
        .list()
        .await
        .map_err(|e| Failure(ErrorCode::Internal.because(e.to_string())))?;
    Ok(Json(Page {
        items,
        next_page_token: None,
    }))
}

/// The upload has a limit of its own, so it is a route of its own.
pub(super) fn upload_route() -> Router<App> {
    Router::new()
        .route("/v1/images", put(upload))
        .layer(DefaultBodyLimit::disable())
}

/// Loads a `docker save` or OCI layout tar. Only the operator may, because images are seen by every node.
async fn upload(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Reply<Json<LoadedImages>> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let store = app.images.as_ref().ok_or_else(none)?;
    if !caller.is_operator() {
        return Err(Failure(
            ErrorCode::PermissionDenied.because("only the operator loads images"),
        ));
    }
    let failed =
        |e: std::io::Error| Failure(ErrorCode::Internal.because(format!("cannot keep the file: {e}")));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("marina-image-{}-{number}.tar", std::process::id()));
    let outcome = async {
        let mut file = tokio::fs::File::create_new(&path).await.map_err(failed)?;
        let mut stream = body.into_data_stream();
        let mut length = 0u64;
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|e| Failure(ErrorCode::InvalidArgument.because(e.to_string())))?;
            length += chunk.len() as u64;
            if length > MAX_ARCHIVE {
                return Err(Failure(
                    ErrorCode::TooLarge.because("an archive is at most 8 GiB"),
                ));
            }
            file.write_all(&chunk).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        let images = store.load(&path).await;
        let images = images.map_err(|e| Failure(ErrorCode::InvalidArgument.because(e.to_string())))?;
        Ok(Json(LoadedImages { images }))
    }
    .await;
    let _already_gone = tokio::fs::remove_file(&path).await;
    outcome
}
