//! The Lease service. etcd counts leases' times in whole seconds.

use crate::convert::status;
use crate::service::Door;
use base::ClusterId;
use futures::StreamExt;
use std::pin::Pin;
use std::time::Duration;
use store_api::{Consistency, Error};
use store_etcd::proto::etcdserverpb as pb;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

/// etcd's limit, in seconds.
const LONGEST: i64 = 9_000_000_000;

fn seconds(d: Duration) -> i64 {
    i64::try_from(d.as_secs_f64().ceil() as u64).unwrap_or(LONGEST)
}

impl Door {
    async fn now(&self, cluster: &ClusterId) -> Result<Option<pb::ResponseHeader>, Status> {
        let now = self
            .store
            .revision(cluster, Consistency::Local)
            .await
            .map_err(|e| status(&e))?;
        Ok(self.header(cluster, now.revision))
    }
}

#[tonic::async_trait]
impl pb::lease_server::Lease for Door {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let request = request.into_inner();
        if request.ttl > LONGEST {
            return Err(Status::out_of_range("etcdserver: too large lease TTL"));
        }
        let ttl = request.ttl.max(1);
        let granted = Duration::from_secs(u64::try_from(ttl).unwrap_or(1));
        let id = self
            .store
            .lease_grant(&cluster, request.id, granted)
            .await
            .map_err(|e| status(&e))?;
        let header = self.now(&cluster).await?;
        Ok(Response::new(pb::LeaseGrantResponse {
            header,
            id,
            ttl,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let cluster = self.cluster(&request)?;
        self.store
            .lease_revoke(&cluster, request.into_inner().id)
            .await
            .map_err(|e| status(&e))?;
        Ok(Response::new(pb::LeaseRevokeResponse {
            header: self.now(&cluster).await?,
        }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let cluster = self.cluster(&request)?;
        let door = self.clone();
        // One after the other: the client's own flow control bounds what waits.
        let answers = request.into_inner().then(move |ask| {
            let (door, cluster) = (door.clone(), cluster.clone());
            async move {
                let id = ask?.id;
                let ttl = match door.store.lease_keep_alive(&cluster, id).await {
                    Ok(ttl) => seconds(ttl),
                    Err(Error::LeaseNotFound) => 0,
                    Err(why) => return Err(status(&why)),
                };
                Ok(pb::LeaseKeepAliveResponse {
                    header: door.now(&cluster).await?,
                    id,
                    ttl,
                })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let request = request.into_inner();
        let header = self.now(&cluster).await?;
        let id = request.id;
        Ok(Response::new(match self.store.lease_info(&cluster, id).await {
            Ok(info) => {
                let keys = info
                    .keys
                    .iter()
                    .filter(|_| request.keys)
                    .map(|key| key.path().clone())
                    .collect();
                let (ttl, granted_ttl) = (seconds(info.remaining), seconds(info.granted));
                pb::LeaseTimeToLiveResponse {
                    header,
                    id,
                    ttl,
                    granted_ttl,
                    keys,
                }
            }
            Err(Error::LeaseNotFound) => pb::LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                granted_ttl: 0,
                keys: Vec::new(),
            },
            Err(why) => return Err(status(&why)),
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let leases = self.store.leases(&cluster).await.map_err(|e| status(&e))?;
        let leases = leases.into_iter().map(|id| pb::LeaseStatus { id }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: self.now(&cluster).await?,
            leases,
        }))
    }
}
