//! Controllers that make the cloud follow the cluster: load balancers for Services.
//!
//! They know clouds only through `cloud_api`, and which cloud a cluster has only through [`CloudOf`]. Everything they make
//! is tagged with its cluster, so that deleting a cluster can find it without asking them.

pub mod service;

use base::ClusterId;
use cloud_api::Cloud;
use runtime::Controller;
use std::sync::Arc;

/// Which cloud a cluster's machines run in; `None` while that is not known.
pub trait CloudOf: Send + Sync + 'static {
    /// The cloud of a cluster.
    fn cloud_of(&self, cluster: &ClusterId) -> Option<Arc<dyn Cloud>>;
}

/// All cloud controllers, to be run by `runtime::manager::run`. Adding one is a folder here and a line in this list.
pub fn all(clouds: Arc<dyn CloudOf>) -> Vec<Arc<dyn Controller>> {
    vec![Arc::new(service::ServiceController::new(clouds))]
}
