//! The closed set of things that go wrong at a cloud, by what the caller does about them.

use std::time::Duration;

/// What every capability answers.
pub type Result<T> = std::result::Result<T, CloudError>;

/// Why a cloud did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// There is no such thing, or no longer: for a deletion, finished.
    #[error("not found: {0}")]
    NotFound(String),
    /// The cloud has no room for it in this zone now: try another zone or instance type, or later.
    #[error("no capacity: {0}")]
    InsufficientCapacity(String),
    /// The account's limit is reached: only the account's owner can help.
    #[error("quota exceeded: {0}")]
    QuotaExceeded(String),
    /// Something that this needs exists but is not usable yet (an instance that starts, a volume still attached): repeat later.
    #[error("not ready: {0}")]
    NotReady(String),
    /// Too many calls: repeat after this time.
    #[error("throttled, retry after {retry_after:?}")]
    Throttled {
        /// How long to wait before the next call.
        retry_after: Duration,
    },
    /// The credentials (or, on one host, the privileges) do not allow it.
    #[error("denied: {0}")]
    Denied(String),
    /// The request can never succeed as it is, or contradicts what its token created before.
    #[error("invalid: {0}")]
    Invalid(String),
    /// Anything else; worth repeating with back-off.
    #[error("{0}")]
    Other(String),
}

impl CloudError {
    /// Whether repeating the same call later can succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::InsufficientCapacity(_) | Self::NotReady(_) | Self::Throttled { .. } | Self::Other(_)
        )
    }

    /// A stable word for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "NotFound",
            Self::InsufficientCapacity(_) => "InsufficientCapacity",
            Self::QuotaExceeded(_) => "QuotaExceeded",
            Self::NotReady(_) => "NotReady",
            Self::Throttled { .. } => "Throttled",
            Self::Denied(_) => "Denied",
            Self::Invalid(_) => "Invalid",
            Self::Other(_) => "CloudError",
        }
    }
}
