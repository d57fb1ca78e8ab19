//! When leases end. Not part of the state machine: the member that leads keeps the deadlines, and ends a lease by a
//! command. After a restart or a change of leader every lease has its full time again, as in etcd.

use base::ClusterId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use store_api::LeaseId;
use tokio::time::Instant;

type Id = (ClusterId, LeaseId);

/// Deadlines of leases, ordered.
#[derive(Debug, Default)]
pub struct Lessor {
    order: BTreeSet<(Instant, Id)>,
    deadlines: BTreeMap<Id, Instant>,
}

impl Lessor {
    /// A lease begins, or is renewed.
    pub fn renew(&mut self, cluster: &ClusterId, id: LeaseId, ttl: Duration, now: Instant) {
        let id = (cluster.clone(), id);
        let deadline = now + ttl;
        if let Some(old) = self.deadlines.insert(id.clone(), deadline) {
            self.order.remove(&(old, id.clone()));
        }
        self.order.insert((deadline, id));
    }

    /// A lease has ended.
    pub fn forget(&mut self, cluster: &ClusterId, id: LeaseId) {
        let id = (cluster.clone(), id);
        if let Some(old) = self.deadlines.remove(&id) {
            self.order.remove(&(old, id));
        }
    }

    /// A cluster has gone, with all its leases.
    pub fn forget_cluster(&mut self, cluster: &ClusterId) {
        let first = (cluster.clone(), LeaseId::MIN);
        let ids: Vec<Id> = self
            .deadlines
            .range(first..)
            .map(|(id, _)| id.clone())
            .take_while(|id| id.0 == *cluster)
            .collect();
        for (cluster, id) in ids {
            self.forget(&cluster, id);
        }
    }

    /// What is left of a lease; `None` if it is not known here.
    pub fn remaining(&self, cluster: &ClusterId, id: LeaseId, now: Instant) -> Option<Duration> {
        self.deadlines
            .get(&(cluster.clone(), id))
            .map(|at| at.saturating_duration_since(now))
    }

    /// When the next lease ends.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Up to `limit` leases whose time is over. They stay until they are forgotten, but are not reported again
    /// for `retry`.
    pub fn expired(&mut self, now: Instant, retry: Duration, limit: usize) -> Vec<Id> {
        let over: Vec<_> = self
            .order
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(limit)
            .cloned()
            .collect();
        for (at, id) in &over {
            self.order.remove(&(*at, id.clone()));
            self.order.insert((now + retry, id.clone()));
            self.deadlines.insert(id.clone(), now + retry);
        }
        over.into_iter().map(|(_, id)| id).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }
}
