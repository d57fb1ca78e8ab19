//! Answers: what handlers return when something is wrong, and how inner errors become that.

use crate::records::RecordError;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use service_api::{ErrorBody, ErrorCode, InvalidName};

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct Failure(pub(super) ErrorBody);

pub(super) type Reply<T> = Result<T, Failure>;

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self(body)
    }
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        use store_api::Error as Store;
        Self(match &error {
            RecordError::Conflict => ErrorCode::Conflict.because("somebody else changed it; try again"),
            RecordError::Key(bad) => ErrorCode::InvalidArgument.because(bad.to_string()),
            RecordError::Store(Store::Unavailable(_)) => {
                ErrorCode::Unavailable.because("the store does not answer; try again")
            }
            RecordError::Store(Store::QuotaExceeded { .. }) => {
                ErrorCode::QuotaExceeded.because(error.to_string())
            }
            _ => {
                tracing::error!(%error, "a REST request failed");
                ErrorCode::Internal.because("internal error; the service's log says more")
            }
        })
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Self(ErrorCode::InvalidArgument.at("name", error.to_string()))
    }
}

impl From<JsonRejection> for Failure {
    fn from(error: JsonRejection) -> Self {
        let code = if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ErrorCode::TooLarge
        } else {
            ErrorCode::InvalidArgument
        };
        Self(code.because(error.body_text()))
    }
}

impl From<QueryRejection> for Failure {
    fn from(error: QueryRejection) -> Self {
        Self(ErrorCode::InvalidArgument.because(error.body_text()))
    }
}

/// What is there no such thing of.
pub(super) fn not_found(what: &str, name: &str) -> Failure {
    let name: String = name.chars().take(80).collect();
    Failure(ErrorCode::NotFound.because(format!("{what} {name:?} not found")))
}

pub(super) async fn no_such_path(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure(ErrorCode::NotFound.because(format!("there is nothing at {path}; see /v1/openapi.json")))
}

pub(super) async fn method_not_allowed() -> Response {
    let body =
        ErrorCode::InvalidArgument.because("this path does not take this method; see /v1/openapi.json");
    (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
}
