//! The provider as a part of a process: options, dependencies, service, handle.

use crate::access::{ClusterAccess, ImageStore, NodeUserData};
use crate::flows::{self, Waker, Woken, Work};
use crate::records::{ClusterRecord, PoolRecord, RecordError, Records};
use crate::{api_keys, directory::ClusterDirectory, rest};
use base::{Clock, Shutdown};
use jiff::SignedDuration;
use service_api::{ClusterState, CreatedApiKey, Project};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use store_api::Store;
use tokio::sync::mpsc;

/// The clouds of this process, by the name users choose them by.
pub type Clouds = BTreeMap<service_api::Cloud, Arc<dyn cloud_api::Cloud>>;

/// What an operator chooses.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clusters get addresses of their own from here on: `127.64.0.0` in `dev`, a /10 on the loopback interface.
    pub first_address: Ipv4Addr,
    /// How many addresses there are.
    pub addresses: u32,
    /// Port of the API servers, for endpoints.
    pub api_port: u16,
    /// The cloud that is used where a user names none.
    pub default_cloud: service_api::Cloud,
    /// The project that exists from the beginning.
    pub default_project: String,
}

/// What the service stands on.
pub struct Deps {
    pub options: Options,
    pub store: Arc<dyn Store>,
    pub records: Records,
    pub directory: Arc<ClusterDirectory>,
    pub access: Arc<dyn ClusterAccess>,
    pub user_data: Arc<dyn NodeUserData>,
    pub images: Option<Arc<dyn ImageStore>>,
    pub clouds: Clouds,
    /// The image machines boot.
    pub node_image: String,
    pub clock: Clock,
    /// Wakes the flows; made by [`Waker::new`].
    pub waker: Waker,
}

/// Why the service could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The records could not be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The part that runs.
pub struct Service {
    deps: Arc<Deps>,
    wakes: mpsc::UnboundedReceiver<Woken>,
}

/// The way in.
#[derive(Clone)]
pub struct Handle {
    deps: Arc<Deps>,
}

impl Service {
    /// Reads the clusters into the directory and makes the default project, if it is not there.
    pub async fn build(
        deps: Deps,
        wakes: mpsc::UnboundedReceiver<Woken>,
    ) -> Result<(Self, Handle), BuildError> {
        let deps = Arc::new(deps);
        deps.directory.load(&deps.records).await?;
        let project = Project {
            name: deps.options.default_project.clone(),
            created_at: deps.clock.now_rfc3339(),
        };
        let mut batch = crate::records::Batch::default();
        batch.create(&deps.records, &project)?;
        match deps.records.commit(batch).await {
            Ok(_) | Err(RecordError::Conflict) => {}
            Err(error) => return Err(error.into()),
        }
        for cluster in deps.records.list::<ClusterRecord>(None).await? {
            let cluster = cluster.value;
            for pool in deps.records.list::<PoolRecord>(Some(cluster.id.as_str())).await? {
                deps.waker.wake(Work::Pool {
                    cluster: cluster.id.clone(),
                    name: pool.value.name,
                });
            }
            if cluster.state != ClusterState::Active {
                deps.waker.wake(Work::Cluster {
                    project: cluster.project,
                    name: cluster.name,
                });
            }
        }
        let handle = Handle { deps: deps.clone() };
        Ok((Self { deps, wakes }, handle))
    }

    /// Runs the flows until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        flows::run(self.deps, self.wakes, shutdown).await;
    }
}

impl Handle {
    /// The REST API, to be served over TLS. The routes of `operator` are served to the operator's key alone.
    pub fn router(&self, operator: axum::Router) -> axum::Router {
        rest::router(self.deps.clone(), operator)
    }

    /// Makes a key for every project: the operator's own.
    pub async fn create_operator_key(&self, ttl: SignedDuration) -> Result<CreatedApiKey, RecordError> {
        let deps = &self.deps;
        api_keys::create(
            &deps.records,
            &deps.clock,
            "*",
            "made at start, for the operator".into(),
            ttl,
        )
        .await
    }

    /// Whether a key is valid now.
    pub async fn accepts_key(&self, secret: &str) -> bool {
        matches!(
            api_keys::check(&self.deps.records, &self.deps.clock, secret).await,
            Ok(Some(_))
        )
    }
}
