//! Errors of a call, with the API server's own words in them.

use crate::transport::TransportError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `metav1.Status`: what an API server says when it refuses, and what some calls answer when they succeed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `Success` or `Failure`.
    pub status: String,
    /// For people.
    pub message: String,
    /// For programs: `NotFound`, `Conflict`, `AlreadyExists`, …
    pub reason: String,
    /// The HTTP status.
    pub code: u16,
    /// What it is about.
    pub details: Option<StatusDetails>,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusDetails {
    /// Name of the object.
    pub name: String,
    /// Group of its kind.
    pub group: String,
    /// Its kind or plural.
    pub kind: String,
    /// Its uid.
    pub uid: String,
    /// What is wrong with which field.
    pub causes: Vec<StatusCause>,
    /// Seconds to wait before trying again.
    pub retry_after_seconds: u32,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusCause {
    /// E.g. `FieldValueRequired`, `NamespaceTerminating`, `DisruptionBudget`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The field's path.
    pub field: String,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server answered with an error.
    #[error("{} ({} {})", .0.message, .0.code, .0.reason)]
    Api(Box<Status>),
    /// No answer came.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The body broke off.
    #[error("the answer broke off: {0}")]
    Body(#[source] std::io::Error),
    /// The answer was larger than this client accepts.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer could not be understood.
    #[error("cannot decode the answer: {0}")]
    Decode(String),
    /// The object could not be encoded, or the call makes no sense (no name, a namespace missing).
    #[error("bad call: {0}")]
    Call(String),
}

impl Error {
    /// The status, if the API server answered.
    pub fn status(&self) -> Option<&Status> {
        if let Self::Api(s) = self { Some(s) } else { None }
    }
    fn is(&self, code: u16, reason: &str) -> bool {
        self.status()
            .is_some_and(|s| s.reason == reason || (s.reason.is_empty() && s.code == code))
    }
    /// 404 `NotFound`.
    pub fn is_not_found(&self) -> bool {
        self.is(404, "NotFound")
    }
    /// 409 `Conflict`: the object changed since it was read, or its uid differs.
    pub fn is_conflict(&self) -> bool {
        self.is(409, "Conflict")
    }
    /// 409 `AlreadyExists`.
    pub fn is_already_exists(&self) -> bool {
        self.status().is_some_and(|s| s.reason == "AlreadyExists")
    }
    /// 410: the revision is too old; list again.
    pub fn is_gone(&self) -> bool {
        self.status()
            .is_some_and(|s| s.code == 410 || s.reason == "Expired" || s.reason == "Gone")
    }
    /// 422 `Invalid`.
    pub fn is_invalid(&self) -> bool {
        self.is(422, "Invalid")
    }
    /// 403 `Forbidden`.
    pub fn is_forbidden(&self) -> bool {
        self.is(403, "Forbidden")
    }
    /// 429 `TooManyRequests`.
    pub fn is_too_many_requests(&self) -> bool {
        self.is(429, "TooManyRequests")
    }
    /// A create was refused because its namespace is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        self.is_forbidden() && self.has_cause("NamespaceTerminating")
    }
    /// Whether the status lists a cause with this reason.
    pub fn has_cause(&self, reason: &str) -> bool {
        let details = self.status().and_then(|s| s.details.as_ref());
        details.is_some_and(|d| d.causes.iter().any(|c| c.reason == reason))
    }
    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.status()?.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }
    /// Whether the same call may succeed later without anything being changed by the caller.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Api(s) => s.code == 429 || s.code >= 500,
            Self::Transport(TransportError::Connect(_)) | Self::Deadline(_) | Self::Body(_) => true,
            _ => false,
        }
    }

    /// Makes an error of an HTTP answer that is no success.
    pub fn from_answer(code: http::StatusCode, retry_after: Option<u32>, body: &[u8]) -> Self {
        let mut status: Status = serde_json::from_slice(body).unwrap_or_default();
        if status.status.is_empty() && status.reason.is_empty() {
            let text = String::from_utf8_lossy(&body[..body.len().min(1024)]);
            let text = text.trim();
            status.status = "Failure".into();
            status.message = if text.is_empty() {
                code.to_string()
            } else {
                text.to_string()
            };
            status.reason = reason_of(code).into();
        }
        status.code = code.as_u16();
        if let Some(seconds) = retry_after {
            let details = status.details.get_or_insert_with(StatusDetails::default);
            if details.retry_after_seconds == 0 {
                details.retry_after_seconds = seconds;
            }
        }
        Self::Api(Box::new(status))
    }
}

fn reason_of(code: http::StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_status_still_has_a_reason() {
        let e = Error::from_answer(http::StatusCode::TOO_MANY_REQUESTS, Some(7), b"slow down");
        assert!(e.is_too_many_requests() && e.is_transient());
        assert_eq!(e.retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn conflict_and_already_exists_are_told_apart() {
        let body = br#"{"kind":"Status","status":"Failure","reason":"AlreadyExists","code":409}"#;
        let e = Error::from_answer(http::StatusCode::CONFLICT, None, body);
        assert!(e.is_already_exists() && !e.is_conflict());
    }
}
