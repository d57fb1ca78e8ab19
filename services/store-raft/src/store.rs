//! [`RaftStore`]: the group as a store.

use crate::member::Member;
use crate::transport::Answer;
use crate::wire::{Refusal, Request, Response};
use async_trait::async_trait;
use base::{Clock, ClusterId};
use rand::Rng;
use std::sync::Arc;
use std::time::Duration;
use store_api::{
    AcrossMessage, AcrossRequest, Consistency, Error, LeaseId, LeaseInfo, Position, Quota, Range,
    RangeResult, Revision, Status, Store, Txn, TxnOutcome, Usage, Watch, WatchRequest,
};
use store_mem::{Action, Command, Reply};
use store_rocks::format::Submitted;
use tokio::sync::mpsc;

/// How long a client waits for its command to be applied.
const PATIENCE: Duration = Duration::from_secs(10);

/// A member of a group, as a store. Cheap to clone; works while its [`crate::Service`] runs.
#[derive(Clone)]
pub struct RaftStore {
    pub(crate) member: Arc<Member>,
    pub(crate) queue: mpsc::Sender<Submitted>,
    pub(crate) clock: Clock,
    pub(crate) disk: Arc<dyn crate::disk::Disk>,
}

impl std::fmt::Debug for RaftStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftStore of member {}", self.member.id())
    }
}

impl RaftStore {
    /// What answers the other members' requests: for a transport's listening side.
    pub fn answer(&self) -> Arc<dyn Answer> {
        self.member.clone()
    }

    /// The member that leads, as far as this one knows.
    pub fn leader(&self) -> Option<crate::MemberId> {
        self.member.leader()
    }

    /// Hands leadership to another member; returns when this was asked for, not when it happened.
    pub async fn transfer_leader(&self, to: crate::MemberId) -> Result<(), Error> {
        self.member
            .raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|e| Error::Unavailable(e.to_string()))
    }

    /// In every cluster, forgets history older than `age`. The service does this by itself.
    pub async fn compact_older_than(&self, age: Duration) -> Result<(), Error> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let before_ms = self.now_ms().saturating_sub(age);
        self.submit(Action::Sweep { before_ms }).await.map(drop)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0)
    }

    /// Brings a command into the log and waits until it is applied here.
    pub(crate) async fn submit(&self, action: Action) -> Result<Reply, Error> {
        let waiters = &self.member.shared.waiters;
        let (ticket, answer) = waiters.add();
        let command = Command {
            at_ms: self.now_ms(),
            action,
        };
        let submitted = Submitted {
            member: self.member.id(),
            ticket,
            command,
        };
        let answered = tokio::time::timeout(PATIENCE, async {
            self.queue
                .send(submitted)
                .await
                .map_err(|_| Error::Unavailable("the store has stopped".into()))?;
            answer
                .await
                .map_err(|_| Error::Unavailable("the store has stopped".into()))?
        });
        match answered.await {
            Ok(outcome) => {
                if outcome.is_err() {
                    waiters.forget(ticket);
                }
                outcome
            }
            Err(_) => {
                waiters.forget(ticket);
                Err(Error::Unavailable(format!("not committed within {PATIENCE:?}")))
            }
        }
    }

    async fn ready(&self, consistency: Consistency) -> Result<(), Error> {
        match consistency {
            Consistency::Linearizable => self.member.barrier().await,
            Consistency::Local => Ok(()),
        }
    }

    /// Asks the leader something about a lease.
    async fn of_leader(
        &self,
        here: impl Fn() -> Result<Duration, Refusal>,
        request: Request,
    ) -> Result<Duration, Error> {
        let answer = match here() {
            Ok(d) => return Ok(d),
            Err(Refusal::NotLeader(Some(leader))) => match self.member.ask(leader, &request).await? {
                Response::Millis(n) => return Ok(Duration::from_millis(n)),
                Response::Refused(why) => why,
                other => Refusal::Other(format!("{other:?}")),
            },
            Err(why) => why,
        };
        Err(match answer {
            Refusal::LeaseNotFound => Error::LeaseNotFound,
            Refusal::NotLeader(_) => Error::Unavailable("no leader".into()),
            Refusal::Other(why) => Error::Unavailable(why),
        })
    }
}

#[async_trait]
impl Store for RaftStore {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        self.ready(range.consistency).await?;
        self.member.shared.engine.range(&range)
    }

    async fn txn(&self, cluster: &ClusterId, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check(cluster)?;
        self.member.shared.engine.limits().check(&txn)?;
        match self
            .submit(Action::Txn {
                cluster: cluster.clone(),
                txn,
            })
            .await?
        {
            Reply::Txn(outcome) => Ok(outcome),
            Reply::Done => Err(Error::Other("a transaction without an outcome".into())),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error> {
        self.ready(Consistency::Linearizable).await?;
        self.member.shared.engine.watch(&request)
    }

    async fn watch_across(&self, request: AcrossRequest) -> Result<mpsc::Receiver<AcrossMessage>, Error> {
        self.member.shared.engine.watch_across(&request)
    }

    async fn compact(&self, cluster: &ClusterId, at: Revision) -> Result<(), Error> {
        self.submit(Action::Compact {
            cluster: cluster.clone(),
            at,
        })
        .await
        .map(drop)
    }

    async fn revision(&self, cluster: &ClusterId, consistency: Consistency) -> Result<Position, Error> {
        self.ready(consistency).await?;
        self.member.shared.engine.position(cluster)
    }

    async fn lease_grant(&self, cluster: &ClusterId, id: LeaseId, ttl: Duration) -> Result<LeaseId, Error> {
        let id = if id == 0 {
            rand::rng().random_range(1..i64::MAX)
        } else {
            id
        };
        self.submit(Action::LeaseGrant {
            cluster: cluster.clone(),
            id,
            ttl,
        })
        .await?;
        Ok(id)
    }

    async fn lease_revoke(&self, cluster: &ClusterId, id: LeaseId) -> Result<(), Error> {
        self.submit(Action::LeaseRevoke {
            cluster: cluster.clone(),
            id,
        })
        .await
        .map(drop)
    }

    async fn lease_keep_alive(&self, cluster: &ClusterId, id: LeaseId) -> Result<Duration, Error> {
        let request = Request::KeepAlive {
            cluster: cluster.clone(),
            id,
        };
        self.of_leader(|| self.member.keep_alive(cluster, id), request)
            .await
    }

    async fn lease_info(&self, cluster: &ClusterId, id: LeaseId) -> Result<LeaseInfo, Error> {
        self.ready(Consistency::Linearizable).await?;
        let (granted, keys) = self.member.shared.engine.lease(cluster, id)?;
        let request = Request::Remaining {
            cluster: cluster.clone(),
            id,
        };
        let remaining = self
            .of_leader(|| self.member.remaining(cluster, id), request)
            .await?;
        Ok(LeaseInfo {
            granted,
            remaining,
            keys,
        })
    }

    async fn leases(&self, cluster: &ClusterId) -> Result<Vec<LeaseId>, Error> {
        self.ready(Consistency::Linearizable).await?;
        Ok(self
            .member
            .shared
            .engine
            .leases(cluster)?
            .into_iter()
            .map(|(id, _)| id)
            .collect())
    }

    async fn set_quota(&self, cluster: &ClusterId, quota: Option<Quota>) -> Result<(), Error> {
        self.submit(Action::SetQuota {
            cluster: cluster.clone(),
            quota,
        })
        .await
        .map(drop)
    }

    async fn remove_cluster(&self, cluster: &ClusterId) -> Result<(), Error> {
        self.submit(Action::RemoveCluster {
            cluster: cluster.clone(),
        })
        .await
        .map(drop)
    }

    async fn clusters(&self) -> Result<Vec<ClusterId>, Error> {
        self.ready(Consistency::Linearizable).await?;
        Ok(self.member.shared.engine.clusters())
    }

    async fn usage(&self, cluster: &ClusterId) -> Result<Usage, Error> {
        self.member.shared.engine.usage(cluster)
    }

    async fn status(&self) -> Status {
        use openraft::async_runtime::WatchReceiver;
        let metrics = self.member.raft.metrics().borrow_watched().clone();
        Status {
            member: self.member.id(),
            leader: metrics.current_leader,
            term: metrics.current_term,
            applied: *self.member.shared.applied.borrow(),
            disk_bytes: self.disk.bytes(),
        }
    }
}
