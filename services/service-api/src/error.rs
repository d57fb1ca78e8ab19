//! What an error looks like on the wire.

use serde::{Deserialize, Serialize};

/// The body of every answer with a status of 400 or more.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{message}")]
pub struct ErrorBody {
    /// What a program acts on.
    pub code: ErrorCode,
    /// What a person reads.
    pub message: String,
    /// The field of the request that is at fault, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// A closed set, each with one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorCode {
    /// 400: the request makes no sense as it is.
    InvalidArgument,
    /// 401: no credential, or one that is not (any more) valid.
    Unauthenticated,
    /// 403: the credential does not allow this.
    PermissionDenied,
    /// 404.
    NotFound,
    /// 409: something of that name is there already.
    AlreadyExists,
    /// 409: not possible in the present state (deleting, or changed meanwhile).
    Conflict,
    /// 413: the body is over its limit.
    TooLarge,
    /// 429: over a quota or a rate.
    QuotaExceeded,
    /// 501: known, and not built yet.
    NotImplemented,
    /// 503: try again.
    Unavailable,
    /// 500: a bug, or something outside that failed.
    Internal,
}

impl ErrorCode {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidArgument => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::QuotaExceeded => 429,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// With a message.
    pub fn because(self, message: impl Into<String>) -> ErrorBody {
        ErrorBody {
            code: self,
            message: message.into(),
            field: None,
        }
    }

    /// With a message about a field of the request.
    pub fn at(self, field: &str, message: impl Into<String>) -> ErrorBody {
        ErrorBody {
            code: self,
            message: message.into(),
            field: Some(field.into()),
        }
    }
}
