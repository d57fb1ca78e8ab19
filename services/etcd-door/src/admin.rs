//! Cluster, Maintenance and Auth: what clients need to find their way. A tenant sees one member and its own bytes, and
//! can change nothing of the group.

use crate::convert::status;
use crate::service::Door;
use store_api::Consistency;
use store_etcd::proto::etcdserverpb as pb;
use tonic::{Request, Response, Status};

/// The etcd whose behaviour the door has: clients choose features by it.
const VERSION: &str = "3.6.8";
const STORAGE_VERSION: &str = "3.6.0";

impl Door {
    async fn revision<T>(&self, request: &Request<T>) -> Result<Option<pb::ResponseHeader>, Status> {
        let cluster = self.cluster(request)?;
        let now = self
            .store
            .revision(&cluster, Consistency::Local)
            .await
            .map_err(|e| status(&e))?;
        Ok(self.header(&cluster, now.revision))
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Door {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        let header = self.revision(&request).await?;
        let urls = self.urls.to_vec();
        let member = pb::Member {
            id: 1,
            name: "marina".into(),
            peer_ur_ls: urls.clone(),
            client_ur_ls: urls,
            is_learner: false,
        };
        Ok(Response::new(pb::MemberListResponse {
            header,
            members: vec![member],
        }))
    }
}

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Door {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        let header = self.revision(&request).await?;
        // A quota is checked in each transaction: there is no alarm to raise or to clear.
        if request.get_ref().action() == AlarmAction::Activate {
            return Err(Status::unimplemented("etcdserver: alarms cannot be raised"));
        }
        Ok(Response::new(pb::AlarmResponse {
            header,
            alarms: Vec::new(),
        }))
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        let cluster = self.cluster(&request)?;
        let header = self.revision(&request).await?;
        let usage = self.store.usage(&cluster).await.map_err(|e| status(&e))?;
        let bytes = i64::try_from(usage.bytes).unwrap_or(i64::MAX);
        let group = self.store.status().await;
        let errors = if group.leader.is_none() {
            vec!["etcdserver: no leader".to_owned()]
        } else {
            Vec::new()
        };
        Ok(Response::new(pb::StatusResponse {
            header,
            version: VERSION.into(),
            db_size: bytes,
            leader: 1,
            raft_index: group.applied,
            raft_term: group.term.max(1),
            raft_applied_index: group.applied,
            errors,
            db_size_in_use: bytes,
            is_learner: false,
            storage_version: STORAGE_VERSION.into(),
            db_size_quota: 0,
        }))
    }

    /// There is nothing to defragment: the database compacts itself.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        Ok(Response::new(pb::DefragmentResponse {
            header: self.revision(&request).await?,
        }))
    }
}

#[tonic::async_trait]
impl pb::auth_server::Auth for Door {
    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        let header = self.revision(&request).await?;
        Ok(Response::new(pb::AuthStatusResponse {
            header,
            enabled: false,
            auth_revision: 1,
        }))
    }

    /// The certificate is the identity; there are no passwords.
    async fn authenticate(
        &self,
        _: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        Err(Status::failed_precondition(
            "etcdserver: authentication is not enabled",
        ))
    }
}
