//! A registry that nodes pull from: the pull half of the OCI distribution specification.
//!
//! containerd asks it as the mirror of every registry and says which one it means by `?ns=`; what is not here gets 404, and
//! containerd goes on to the registry itself. It serves whoever can reach its address and has nothing that is secret.

use crate::store::Reference;
use crate::{Digest, Store};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base::Shutdown;
use tokio::net::TcpListener;
use tokio_util::io::ReaderStream;

/// The service over one store.
#[derive(Clone, Debug)]
pub struct Registry {
    store: Store,
}

impl Registry {
    /// A registry of what is in this store, now and later.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Its store, for loading images.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its HTTP surface: everything under `/v2/`.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// Serves on this listener until shut down.
    pub async fn run(self, listener: TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
        axum::serve(listener, self.router())
            .with_graceful_shutdown(async move { shutdown.triggered().await })
            .await
    }
}

/// An error in the specification's form.
fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] });
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

async fn answer(State(registry): State<Registry>, request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return error(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this registry is for pulling only",
        );
    }
    let path = request.uri().path();
    let Some(path) = path.strip_prefix("/v2/").or((path == "/v2").then_some("")) else {
        return error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "not under /v2/");
    };
    if path.is_empty() {
        return (StatusCode::OK, "{}").into_response();
    }
    let head = request.method() == Method::HEAD;
    let namespace = request
        .uri()
        .query()
        .and_then(|q| q.split('&').find_map(|p| p.strip_prefix("ns=")));
    if let Some((name, reference)) = path.rsplit_once("/manifests/") {
        let found = match Digest::parse(reference) {
            Some(digest) => registry.store.manifest(&digest).or_else(|| {
                // A manifest below an index has no name of its own.
                let media_type = crate::image::MANIFEST.into();
                registry
                    .store
                    .blob_path(&digest)
                    .exists()
                    .then_some(Reference { digest, media_type })
            }),
            None => {
                let name = namespace.map_or_else(|| name.to_owned(), |ns| format!("{ns}/{name}"));
                registry.store.resolve(&format!("{name}:{reference}"))
            }
        };
        return match found {
            Some(found) => blob(&registry.store, &found.digest, &found.media_type, head).await,
            None => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "not in this registry"),
        };
    }
    if let Some((_, digest)) = path.rsplit_once("/blobs/") {
        return match Digest::parse(digest) {
            Some(digest) => blob(&registry.store, &digest, "application/octet-stream", head).await,
            None => error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "not a sha256 digest"),
        };
    }
    error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path")
}

async fn blob(store: &Store, digest: &Digest, media_type: &str, head: bool) -> Response {
    let opened = async {
        let file = tokio::fs::File::open(store.blob_path(digest)).await?;
        let length = file.metadata().await?.len();
        Ok::<_, std::io::Error>((file, length))
    };
    let Ok((file, length)) = opened.await else {
        return error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "not in this registry");
    };
    let body = if head {
        Body::empty()
    } else {
        Body::from_stream(ReaderStream::with_capacity(file, 1 << 16))
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    for (name, value) in [
        ("content-type", media_type),
        ("docker-content-digest", digest.as_str()),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}
