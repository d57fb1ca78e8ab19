//! The API server's end: who is connected, and how to reach it.

use crate::dialer::{BoxIo, DialError, Dialer, Target};
use crate::mux::{Mux, Role};
use async_trait::async_trait;
use base::{ClusterId, Shutdown};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Connections from one node to the API server that may be open at once.
const MAX_INBOUND: usize = 512;

/// Takes connections that come out of a tunnel.
#[async_trait]
pub trait Inbound: Send + Sync + 'static {
    /// Serves one raw connection, TLS and all, until it ends. `cluster` is the tunnel's; the client must be authenticated
    /// for that cluster and no other.
    async fn serve(&self, cluster: &ClusterId, io: BoxIo);
}

type Registry = Mutex<BTreeMap<(ClusterId, String), Arc<Mux>>>;

/// The tunnels of every cluster. Cheap to clone.
#[derive(Clone, Default)]
pub struct TunnelServer {
    nodes: Arc<Registry>,
}

impl TunnelServer {
    /// Without tunnels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a node's tunnel until it ends. The caller has verified, by [`crate::node_of`], that the connection is this
    /// node's. A newer tunnel of the same node replaces an older one.
    pub async fn serve(
        &self,
        cluster: ClusterId,
        node: String,
        io: BoxIo,
        inbound: Arc<dyn Inbound>,
        shutdown: &Shutdown,
    ) {
        let mux = Arc::new(Mux::start(io, Role::Accepted));
        let key = (cluster.clone(), node);
        if let Some(older) = self.nodes.lock().insert(key.clone(), mux.clone()) {
            older.close();
        }
        tracing::info!(%cluster, node = key.1, "tunnel connected");
        let places = Arc::new(Semaphore::new(MAX_INBOUND));
        let accept = async {
            while let Some(request) = mux.accept().await {
                if request.target().parse() != Ok(Target::ApiServer) {
                    request.refuse("only the API server is behind this tunnel");
                    continue;
                }
                let Ok(place) = places.clone().try_acquire_owned() else {
                    request.refuse("too many connections");
                    continue;
                };
                let (inbound, cluster) = (inbound.clone(), cluster.clone());
                let stream = request.accept();
                tokio::spawn(async move {
                    inbound.serve(&cluster, Box::new(stream)).await;
                    drop(place);
                });
            }
        };
        let _stopped = shutdown.run_until(accept).await;
        mux.close();
        let mut nodes = self.nodes.lock();
        if nodes.get(&key).is_some_and(|known| Arc::ptr_eq(known, &mux)) {
            nodes.remove(&key);
        }
        tracing::info!(%cluster, node = key.1, "tunnel disconnected");
    }

    /// The nodes of a cluster that are connected here.
    pub fn nodes(&self, cluster: &ClusterId) -> Vec<String> {
        self.of(cluster).into_iter().map(|(node, _)| node).collect()
    }

    fn of(&self, cluster: &ClusterId) -> Vec<(String, Arc<Mux>)> {
        let from = (cluster.clone(), String::new());
        let nodes = self.nodes.lock();
        nodes
            .range((Bound::Included(from), Bound::Unbounded))
            .take_while(|((c, _), _)| c == cluster)
            .map(|((_, node), mux)| (node.clone(), mux.clone()))
            .collect()
    }

    /// Ends every tunnel of a cluster, for instance when it is deleted.
    pub fn disconnect(&self, cluster: &ClusterId) {
        for (_, mux) in self.of(cluster) {
            mux.close();
        }
    }
}

#[async_trait]
impl Dialer for TunnelServer {
    async fn dial(
        &self,
        cluster: &ClusterId,
        node: Option<&str>,
        target: &Target,
    ) -> Result<BoxIo, DialError> {
        let missing = || DialError::NotConnected(node.unwrap_or_default().to_owned());
        let mux = match node {
            Some(name) => self
                .nodes
                .lock()
                .get(&(cluster.clone(), name.to_owned()))
                .cloned(),
            None => self
                .of(cluster)
                .into_iter()
                .map(|(_, mux)| mux)
                .find(|m| !m.is_ended()),
        };
        let mux = mux.ok_or_else(missing)?;
        Ok(Box::new(mux.open(&target.to_string()).await?))
    }
}
