//! The state machine for openraft: the engine in memory, and its changes on disk.

use crate::disk::{Disk, wait};
use crate::types::{
    Entry, Image, Snapshot, SnapshotMeta, Stored, Types, plain_id, plain_members, plain_meta,
};
use crate::types::{LogId, log_id, snapshot_meta, stored};
use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use store_mem::{Action, Change, Engine, Lessor, Loader, Outcome};
use store_rocks::format::{Applied, Submitted};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Changes that are collected before they are written to the disk.
const WRITE_AT: usize = 4096;

/// What the state machine shares with the rest of the member.
pub(crate) struct Shared {
    pub(crate) member: u64,
    pub(crate) engine: Engine,
    pub(crate) waiters: Waiters,
    pub(crate) lessor: Mutex<Lessor>,
    /// The last entry of the log that was applied.
    pub(crate) applied: watch::Sender<u64>,
    /// The newest membership's voters.
    pub(crate) voters: Mutex<Vec<u64>>,
}

/// Clients of this member that wait for their command to be applied.
pub(crate) struct Waiters {
    next: AtomicU64,
    map: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
}

impl Waiters {
    /// `first` differs between restarts, so that a replayed command of an earlier life finds nobody.
    pub(crate) fn new(first: u64) -> Self {
        Self {
            next: AtomicU64::new(first),
            map: Mutex::default(),
        }
    }

    pub(crate) fn add(&self) -> (u64, oneshot::Receiver<Outcome>) {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        self.map.lock().insert(ticket, tx);
        (ticket, rx)
    }

    pub(crate) fn finish(&self, ticket: u64, outcome: Outcome) {
        if let Some(tx) = self.map.lock().remove(&ticket) {
            // Whoever asked may have given up.
            drop(tx.send(outcome));
        }
    }

    pub(crate) fn forget(&self, ticket: u64) {
        self.map.lock().remove(&ticket);
    }
}

/// See the module.
pub(crate) struct Machine {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    applied: Applied,
}

impl Machine {
    /// `applied` is what the engine was loaded with.
    pub(crate) fn new(disk: Arc<dyn Disk>, shared: Arc<Shared>, applied: Applied) -> Self {
        let machine = Self {
            disk,
            shared,
            applied,
        };
        machine.announce();
        machine
    }

    fn announce(&self) {
        *self.shared.voters.lock() = self.applied.members.voters.iter().flatten().copied().collect();
        self.shared
            .applied
            .send_replace(self.applied.log.map_or(0, |id| id.index));
    }

    fn entry(&mut self, entry: Entry, changes: &mut Vec<Change>) {
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(batch) => {
                let batch = Arc::try_unwrap(batch.submitted).unwrap_or_else(|shared| shared.to_vec());
                for one in batch {
                    self.command(one, changes);
                }
            }
            EntryPayload::Membership(members) => {
                self.applied.members_at = Some(plain_id(&entry.log_id));
                self.applied.members = plain_members(&members);
            }
        }
        self.applied.log = Some(plain_id(&entry.log_id));
    }

    fn command(&mut self, one: Submitted, changes: &mut Vec<Change>) {
        // Deadlines are kept by every member, so that a new leader knows them all.
        enum Lease {
            Granted(base::ClusterId, i64, std::time::Duration),
            Revoked(base::ClusterId, i64),
            Gone(base::ClusterId),
        }
        let lease = match &one.command.action {
            Action::LeaseGrant { cluster, id, ttl } => Some(Lease::Granted(cluster.clone(), *id, *ttl)),
            Action::LeaseRevoke { cluster, id } => Some(Lease::Revoked(cluster.clone(), *id)),
            Action::RemoveCluster { cluster } => Some(Lease::Gone(cluster.clone())),
            _ => None,
        };
        let outcome = self.shared.engine.apply(one.command, Some(changes));
        if let (Some(lease), Ok(_)) = (lease, &outcome) {
            let mut lessor = self.shared.lessor.lock();
            match lease {
                Lease::Granted(cluster, id, ttl) => lessor.renew(&cluster, id, ttl, Instant::now()),
                Lease::Revoked(cluster, id) => lessor.forget(&cluster, id),
                Lease::Gone(cluster) => lessor.forget_cluster(&cluster),
            }
        }
        if one.member == self.shared.member {
            self.shared.waiters.finish(one.ticket, outcome);
        }
    }

    fn write(&mut self, changes: &mut Vec<Change>) -> io::Result<()> {
        self.applied.commands = self.shared.engine.applied();
        self.disk.write_state(changes, &self.applied)?;
        changes.clear();
        Ok(())
    }

    fn image(&self) -> Snapshot {
        let (commands, changes) = self.shared.engine.export();
        Snapshot {
            meta: snapshot_meta(&self.applied),
            snapshot: Image {
                commands,
                changes: Arc::new(changes),
            },
        }
    }
}

/// "Builds a snapshot" by bringing the state to disk: then the log before it is not needed any more. The image that a
/// follower is sent is made when it is asked for.
pub(crate) struct Builder {
    disk: Arc<dyn Disk>,
    meta: SnapshotMeta,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Image;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        wait(|done| self.disk.flush_state(done)).await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: Image::default(),
        })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Image;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Stored), io::Error> {
        Ok((self.applied.log.map(log_id), stored(&self.applied)))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut changes = Vec::new();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.entry(entry, &mut changes);
            if let Some(responder) = responder {
                responder.send(());
            }
            if changes.len() >= WRITE_AT {
                self.write(&mut changes)?;
            }
        }
        self.write(&mut changes)?;
        self.announce();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            disk: self.disk.clone(),
            meta: snapshot_meta(&self.applied),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: Image) -> Result<(), io::Error> {
        let applied = plain_meta(meta, image.commands);
        let mut loader = Loader::default();
        for change in image.changes.iter() {
            loader.load(change.clone()).map_err(io::Error::other)?;
        }
        wait(|done| {
            self.disk
                .replace_state(image.changes.clone(), applied.clone(), done)
        })
        .await?;
        self.shared.engine.replace(image.commands, loader);
        let mut lessor = Lessor::default();
        for (cluster, id, ttl) in self.shared.engine.all_leases() {
            lessor.renew(&cluster, id, ttl, Instant::now());
        }
        *self.shared.lessor.lock() = lessor;
        self.applied = applied;
        self.announce();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.applied.log.is_some().then(|| self.image()))
    }
}
