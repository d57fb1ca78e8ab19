//! Every request carries an API key; what it may reach is decided here and nowhere else.

use super::App;
use super::reply::{Failure, Reply, not_found};
use crate::api_keys;
use crate::records::RecordError;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use service_api::{ApiKey, ErrorCode, Project};

/// Who asks. Made by [`require_key`] from the connection's own key, never from anything else a client can set.
#[derive(Clone, Debug)]
pub(super) struct Caller(ApiKey);

impl Caller {
    /// Whether this is the operator.
    pub(super) fn is_operator(&self) -> bool {
        self.0.project == "*"
    }

    /// Refuses projects the key is not for, in the same words whether they exist or not.
    pub(super) async fn project(&self, app: &App, name: &str) -> Reply<()> {
        let allowed = self.is_operator() || self.0.project == name;
        if !allowed || service_api::check_name("project", name).is_err() {
            return Err(not_found("project", name));
        }
        match app.records.get::<Project>(None, name).await? {
            Some(_) => Ok(()),
            None => Err(not_found("project", name)),
        }
    }
}

pub(super) async fn require_key(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let header = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = header
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::trim);
    let key = match token {
        Some(token) => api_keys::check(&app.records, &app.clock, token).await,
        None => Ok::<_, RecordError>(None),
    };
    match key {
        Ok(Some(key)) => {
            request.extensions_mut().insert(Caller(key));
            next.run(request).await
        }
        Ok(None) => {
            let why = "an API key is needed: Authorization: Bearer mk_…";
            Failure(ErrorCode::Unauthenticated.because(why)).into_response()
        }
        Err(error) => Failure::from(error).into_response(),
    }
}

/// Lets only the operator through; after [`require_key`].
pub(super) async fn require_operator(request: Request, next: Next) -> Response {
    if request
        .extensions()
        .get::<Caller>()
        .is_some_and(Caller::is_operator)
    {
        next.run(request).await
    } else {
        let why = "this is for the service's operator";
        Failure(ErrorCode::PermissionDenied.because(why)).into_response()
    }
}
