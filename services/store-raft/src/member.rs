//! One running member: openraft, the state machine, and the answers to other members.

use crate::machine::{Machine, Shared};
use crate::network::Assembly;
use crate::propose;
use crate::transport::{Answer, MemberId, Transport};
use crate::types::{Batch, Snapshot, Types, snapshot_meta};
use crate::wire::{Appended, Refusal, Request, Response};
use async_trait::async_trait;
use base::ClusterId;
use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::error::{LinearizableReadError, RaftError};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store_api::{Error, LeaseId};
use tokio::time::Instant;

/// How long another member may take to answer.
pub(crate) const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// How long a linearizable read may look for a leader.
const READ_PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) type Raft = openraft::Raft<Types, Machine>;

pub(crate) struct Member {
    pub(crate) raft: Raft,
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Arc<dyn Transport>,
    /// Snapshots that are being received, by sender.
    pub(crate) receiving: Mutex<HashMap<MemberId, Assembly>>,
}

impl Member {
    pub(crate) fn id(&self) -> MemberId {
        self.shared.member
    }

    pub(crate) fn leader(&self) -> Option<MemberId> {
        use openraft::async_runtime::WatchReceiver;
        self.raft.metrics().borrow_watched().current_leader
    }

    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(self.id())
    }

    /// Waits for a leader's answer, but no longer than until this member knows another leader (`None`): one whose machine has
    /// lost its power answers nothing at all, and a request's patience is long.
    pub(crate) async fn while_it_leads<T>(&self, id: MemberId, answer: impl Future<Output = T>) -> Option<T> {
        use openraft::async_runtime::WatchReceiver;
        let mut metrics = self.raft.metrics();
        let replaced = async {
            loop {
                let leader = metrics.borrow_watched().current_leader;
                if leader.is_some_and(|now| now != id) || metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = replaced => None,
        }
    }

    fn alone(&self) -> bool {
        *self.shared.voters.lock() == [self.id()]
    }

    /// Waits until this member has applied everything that was acknowledged anywhere before the call.
    pub(crate) async fn barrier(&self) -> Result<(), Error> {
        // A group of one acknowledges a write after it has applied it; opening waited for the log's tail.
        if self.alone() {
            return Ok(());
        }
        let deadline = Instant::now() + READ_PATIENCE;
        loop {
            let index = match self.leader() {
                Some(id) if id == self.id() => self.read_index().await.ok(),
                Some(id) => match self.while_it_leads(id, self.ask(id, &Request::ReadIndex)).await {
                    Some(Ok(Response::Index(index))) => Some(index),
                    _ => None,
                },
                None => None,
            };
            if let Some(index) = index {
                let mut applied = self.shared.applied.subscribe();
                let reached = applied.wait_for(|n| *n >= index);
                if let Ok(Ok(_)) = tokio::time::timeout_at(deadline, reached).await {
                    return Ok(());
                }
            }
            if Instant::now() >= deadline {
                return Err(Error::Unavailable("no leader confirmed the read".into()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The position that a read at the leader has to wait for.
    async fn read_index(&self) -> Result<u64, Refusal> {
        // The lease saves the round trip; when it is stale the quorum is asked.
        for policy in [ReadPolicy::LeaseRead, ReadPolicy::ReadIndex] {
            match self.raft.get_read_log_id(policy).await {
                Ok((id, _)) => return Ok(id.log_id().index),
                Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                    return Err(Refusal::NotLeader(to.leader_id));
                }
                Err(e) => tracing::debug!(error = %e, "a read was not confirmed"),
            }
        }
        Err(Refusal::Other("leadership was not confirmed".into()))
    }

    pub(crate) async fn ask(&self, to: MemberId, request: &Request) -> Result<Response, Error> {
        let answer = self.transport.call(to, request.encode(), REQUEST_PATIENCE).await;
        let answer = answer.map_err(|e| Error::Unavailable(e.to_string()))?;
        Response::decode(&answer).map_err(|e| Error::Unavailable(e.to_string()))
    }

    /// Renews a lease here; this member must lead.
    pub(crate) fn keep_alive(&self, cluster: &ClusterId, id: LeaseId) -> Result<Duration, Refusal> {
        if !self.leads() {
            return Err(Refusal::NotLeader(self.leader()));
        }
        let (ttl, _) = self
            .shared
            .engine
            .lease(cluster, id)
            .map_err(|_| Refusal::LeaseNotFound)?;
        self.shared.lessor.lock().renew(cluster, id, ttl, Instant::now());
        Ok(ttl)
    }

    /// What is left of a lease; this member must lead.
    pub(crate) fn remaining(&self, cluster: &ClusterId, id: LeaseId) -> Result<Duration, Refusal> {
        if !self.leads() {
            return Err(Refusal::NotLeader(self.leader()));
        }
        let left = self.shared.lessor.lock().remaining(cluster, id, Instant::now());
        left.ok_or(Refusal::LeaseNotFound)
    }

    async fn handle(&self, from: MemberId, request: Request) -> Result<Response, String> {
        Ok(match request {
            Request::Append {
                vote,
                prev,
                commit,
                entries,
            } => {
                let rpc = AppendEntriesRequest {
                    vote,
                    prev_log_id: prev,
                    leader_commit: commit,
                    entries,
                };
                let response = self.raft.append_entries(rpc).await.map_err(|e| e.to_string())?;
                Response::Append(match response {
                    AppendEntriesResponse::Success => Appended::Success,
                    AppendEntriesResponse::PartialSuccess(id) => Appended::Partial(id),
                    AppendEntriesResponse::Conflict => Appended::Conflict,
                    AppendEntriesResponse::HigherVote(vote) => Appended::HigherVote(vote),
                })
            }
            Request::Vote {
                vote,
                last,
                transfer,
                pre,
            } => {
                let mut rpc = VoteRequest::new(vote, last);
                rpc.leadership_transfer = transfer;
                let response = if pre {
                    self.raft.pre_vote(rpc).await
                } else {
                    self.raft.vote(rpc).await
                };
                let response = response.map_err(|e| e.to_string())?;
                Response::Vote {
                    vote: response.vote,
                    granted: response.vote_granted,
                    last: response.last_log_id,
                }
            }
            Request::Snapshot {
                transfer,
                part,
                last,
                vote,
                applied,
                data,
            } => {
                let image = {
                    let mut receiving = self.receiving.lock();
                    receiving
                        .entry(from)
                        .or_default()
                        .take(transfer, part, last, &applied, &data)?
                };
                let Some(image) = image else {
                    return Ok(Response::Done);
                };
                let snapshot = Snapshot {
                    meta: snapshot_meta(&applied),
                    snapshot: image,
                };
                let response = self
                    .raft
                    .install_full_snapshot(vote, snapshot)
                    .await
                    .map_err(|e| e.to_string())?;
                Response::Snapshot(response.vote)
            }
            Request::Transfer { from, to, last } => {
                let request = TransferLeaderRequest::new(from, to, last);
                let response = self
                    .raft
                    .handle_transfer_leader(request)
                    .await
                    .map_err(|e| e.to_string())?;
                response.map_err(|e| e.to_string())?;
                Response::Done
            }
            Request::Propose { batch } => {
                let batch = Batch::decode(batch).map_err(|e| e.to_string())?;
                propose::forwarded(self, batch).await
            }
            Request::ReadIndex => match self.read_index().await {
                Ok(index) => Response::Index(index),
                Err(why) => Response::Refused(why),
            },
            Request::KeepAlive { cluster, id } => millis(self.keep_alive(&cluster, id)),
            Request::Remaining { cluster, id } => millis(self.remaining(&cluster, id)),
        })
    }
}

fn millis(result: Result<Duration, Refusal>) -> Response {
    match result {
        Ok(d) => Response::Millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        Err(why) => Response::Refused(why),
    }
}

#[async_trait]
impl Answer for Member {
    async fn answer(&self, from: MemberId, request: Bytes) -> Bytes {
        let response = match Request::decode(&request) {
            Ok(request) => self.handle(from, request).await.unwrap_or_else(|why| {
                tracing::debug!(from, why, "a member's request failed");
                Response::Refused(Refusal::Other(why))
            }),
            Err(e) => Response::Refused(Refusal::Other(e.to_string())),
        };
        response.encode()
    }
}
