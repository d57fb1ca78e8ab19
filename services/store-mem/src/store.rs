//! [`MemStore`]: the engine as a store, without a disk. For tests, and for worlds that may be forgotten.

use crate::command::{Action, Command, Reply};
use crate::engine::{Engine, EngineOptions};
use crate::lessor::Lessor;
use async_trait::async_trait;
use base::{Clock, ClusterId};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use store_api::{
    AcrossMessage, AcrossRequest, Consistency, Error, LeaseId, LeaseInfo, Position, Quota, Range,
    RangeResult, Revision, Status, Store, Txn, TxnOutcome, Usage, Watch, WatchRequest,
};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long to wait before a lease that could not be ended is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Leases ended in one go.
const BATCH: usize = 1000;

/// A store in memory. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub struct MemStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    clock: Clock,
    lessor: Mutex<Deadlines>,
    next_lease: AtomicI64,
}

#[derive(Debug, Default)]
struct Deadlines {
    lessor: Lessor,
    /// Whether the task that ends leases runs. It runs only while there are leases.
    running: bool,
}

impl MemStore {
    /// An empty store.
    pub fn new(options: EngineOptions, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            engine: Engine::new(options),
            clock,
            lessor: Mutex::default(),
            next_lease: AtomicI64::new(1),
        }))
    }

    /// In every cluster, forgets history older than `age`. Whoever owns the store calls it now and then.
    pub fn compact_older_than(&self, age: Duration) -> Result<(), Error> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let before_ms = self.0.now_ms().saturating_sub(age);
        self.0.apply(Action::Sweep { before_ms }).map(drop)
    }
}

impl Default for MemStore {
    fn default() -> Self {
        Self::new(EngineOptions::default(), Clock::system())
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millisecond()).unwrap_or(0)
    }

    fn apply(&self, action: Action) -> Result<Reply, Error> {
        self.engine.apply(
            Command {
                at_ms: self.now_ms(),
                action,
            },
            None,
        )
    }

    fn revoke(&self, cluster: &ClusterId, id: LeaseId) -> Result<(), Error> {
        let result = self.apply(Action::LeaseRevoke {
            cluster: cluster.clone(),
            id,
        });
        self.lessor.lock().lessor.forget(cluster, id);
        result.map(drop)
    }
}

/// Ends leases when their time is over, as long as there are any.
async fn expire(inner: Weak<Inner>) {
    loop {
        let next = {
            let Some(inner) = inner.upgrade() else { return };
            let mut deadlines = inner.lessor.lock();
            match deadlines.lessor.next() {
                // Leases are granted with the lock held or after `running` was seen as false: none is missed.
                None => {
                    deadlines.running = false;
                    return;
                }
                // A renewal only moves deadlines back, a new lease may come before: look again every second.
                Some(next) => next.min(Instant::now() + Duration::from_secs(1)),
            }
        };
        tokio::time::sleep_until(next).await;
        let Some(inner) = inner.upgrade() else { return };
        let over = inner.lessor.lock().lessor.expired(Instant::now(), RETRY, BATCH);
        for (cluster, id) in over {
            // The only error is that it has ended already.
            drop(inner.revoke(&cluster, id));
        }
    }
}

#[async_trait]
impl Store for MemStore {
    async fn range(&self, range: Range) -> Result<RangeResult, Error> {
        self.0.engine.range(&range)
    }

    async fn txn(&self, cluster: &ClusterId, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check(cluster)?;
        match self.0.apply(Action::Txn {
            cluster: cluster.clone(),
            txn,
        })? {
            Reply::Txn(outcome) => Ok(outcome),
            Reply::Done => Err(Error::Other("a transaction without an outcome".into())),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error> {
        self.0.engine.watch(&request)
    }

    async fn watch_across(&self, request: AcrossRequest) -> Result<mpsc::Receiver<AcrossMessage>, Error> {
        self.0.engine.watch_across(&request)
    }

    async fn compact(&self, cluster: &ClusterId, at: Revision) -> Result<(), Error> {
        self.0
            .apply(Action::Compact {
                cluster: cluster.clone(),
                at,
            })
            .map(drop)
    }

    async fn revision(&self, cluster: &ClusterId, _: Consistency) -> Result<Position, Error> {
        self.0.engine.position(cluster)
    }

    async fn lease_grant(&self, cluster: &ClusterId, id: LeaseId, ttl: Duration) -> Result<LeaseId, Error> {
        let id = if id == 0 {
            self.0.next_lease.fetch_add(1, Ordering::Relaxed) | 1 << 40
        } else {
            id
        };
        self.0.apply(Action::LeaseGrant {
            cluster: cluster.clone(),
            id,
            ttl,
        })?;
        let mut deadlines = self.0.lessor.lock();
        deadlines.lessor.renew(cluster, id, ttl, Instant::now());
        if !deadlines.running {
            deadlines.running = true;
            tokio::spawn(expire(Arc::downgrade(&self.0)));
        }
        Ok(id)
    }

    async fn lease_revoke(&self, cluster: &ClusterId, id: LeaseId) -> Result<(), Error> {
        self.0.revoke(cluster, id)
    }

    async fn lease_keep_alive(&self, cluster: &ClusterId, id: LeaseId) -> Result<Duration, Error> {
        let (ttl, _) = self.0.engine.lease(cluster, id)?;
        self.0
            .lessor
            .lock()
            .lessor
            .renew(cluster, id, ttl, Instant::now());
        Ok(ttl)
    }

    async fn lease_info(&self, cluster: &ClusterId, id: LeaseId) -> Result<LeaseInfo, Error> {
        let (granted, keys) = self.0.engine.lease(cluster, id)?;
        let remaining = self.0.lessor.lock().lessor.remaining(cluster, id, Instant::now());
        Ok(LeaseInfo {
            granted,
            remaining: remaining.unwrap_or(Duration::ZERO),
            keys,
        })
    }

    async fn leases(&self, cluster: &ClusterId) -> Result<Vec<LeaseId>, Error> {
        Ok(self
            .0
            .engine
            .leases(cluster)?
            .into_iter()
            .map(|(id, _)| id)
            .collect())
    }

    async fn set_quota(&self, cluster: &ClusterId, quota: Option<Quota>) -> Result<(), Error> {
        self.0
            .apply(Action::SetQuota {
                cluster: cluster.clone(),
                quota,
            })
            .map(drop)
    }

    async fn remove_cluster(&self, cluster: &ClusterId) -> Result<(), Error> {
        self.0.apply(Action::RemoveCluster {
            cluster: cluster.clone(),
        })?;
        self.0.lessor.lock().lessor.forget_cluster(cluster);
        Ok(())
    }

    async fn clusters(&self) -> Result<Vec<ClusterId>, Error> {
        Ok(self.0.engine.clusters())
    }

    async fn usage(&self, cluster: &ClusterId) -> Result<Usage, Error> {
        self.0.engine.usage(cluster)
    }

    async fn status(&self) -> Status {
        Status {
            member: 1,
            leader: Some(1),
            term: 0,
            applied: self.0.engine.applied(),
            disk_bytes: 0,
        }
    }
}
