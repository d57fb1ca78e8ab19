//! Routes of pod ranges to instances, on clouds whose network must be told.

use crate::Result;
use async_trait::async_trait;
use base::ClusterId;
use serde::{Deserialize, Serialize};

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The range, as `10.244.1.0/24`.
    pub destination: String,
    /// The instance it leads to.
    pub instance: String,
}

/// Routes of pod ranges to instances.
#[async_trait]
pub trait Routes: Send + Sync {
    /// All routes of a cluster, ordered.
    async fn list(&self, cluster: &ClusterId) -> Result<Vec<Route>>;

    /// Makes the route exist, replacing one of the same destination.
    async fn ensure(&self, cluster: &ClusterId, route: &Route) -> Result<()>;

    /// Removes the route of this destination. `NotFound` means finished.
    async fn delete(&self, cluster: &ClusterId, destination: &str) -> Result<()>;
}
