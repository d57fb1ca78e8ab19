//! The API server as a transport: the same handler, without sockets.
//!
//! Cluster, identity and fence are properties of the transport and can be set by nothing that travels in a request, so controllers
//! use the very pipeline that clients use, and a test's double of the API server is the API server.

use crate::pipeline::Connection;
use crate::{ApiServer, encode};
use async_trait::async_trait;
use auth::User;
use base::ClusterId;
use bytes::Bytes;
use client::{Body, Transport, TransportError};
use store_api::Guard;

/// One caller in one cluster.
#[derive(Clone)]
pub struct InProcess {
    server: ApiServer,
    cluster: ClusterId,
    connection: Connection,
}

impl InProcess {
    /// A transport for `user` in `cluster`. The cluster is looked up for each request, so that it may come, change and go.
    pub fn new(server: ApiServer, cluster: ClusterId, user: User) -> Self {
        Self {
            server,
            cluster,
            connection: Connection::in_process(user),
        }
    }

    /// The same, with a fence that every transaction carries: after a takeover all writes fail.
    pub fn fenced(mut self, guard: Guard) -> Self {
        self.connection.guard = Some(guard);
        self
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterId {
        &self.cluster
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        let Some(cluster) = self.server.directory().cluster(&self.cluster) else {
            let gone = std::io::Error::new(
                std::io::ErrorKind::NotFound,
                format!("no cluster {}", self.cluster),
            );
            return Err(TransportError::Connect(gone));
        };
        let request = request.map(encode::full);
        Ok(self.server.handle(cluster, &self.connection, request).await)
    }
}
