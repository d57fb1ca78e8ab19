//! What changes a group of clusters: commands, their replies, and the changes to keep on disk.
//!
//! A command carries everything that is not the same on every member (time, chosen ids), so that applying the same
//! commands in the same order gives the same state everywhere. Applying never reads a clock or a random number.

use base::ClusterId;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use store_api::{Error, Event, LeaseId, Quota, Record, Revision, Txn, TxnOutcome};

/// One step of the state machine.
#[derive(Clone, Debug)]
pub struct Command {
    /// When the command was made, in milliseconds since the Unix epoch. Dates history, and nothing else.
    pub at_ms: u64,
    /// What to do.
    pub action: Action,
}

/// See [`Command::action`].
#[derive(Clone, Debug)]
pub enum Action {
    /// A transaction in one cluster.
    Txn { cluster: ClusterId, txn: Txn },
    /// Forget history before `at`.
    Compact { cluster: ClusterId, at: Revision },
    /// Grant a lease; the id is chosen by whoever made the command.
    LeaseGrant {
        cluster: ClusterId,
        id: LeaseId,
        ttl: Duration,
    },
    /// End a lease and delete its keys.
    LeaseRevoke { cluster: ClusterId, id: LeaseId },
    /// Set or lift a cluster's quota.
    SetQuota {
        cluster: ClusterId,
        quota: Option<Quota>,
    },
    /// Forget a cluster for ever.
    RemoveCluster { cluster: ClusterId },
    /// In every cluster, forget history that was made before this time (milliseconds since the Unix epoch).
    Sweep { before_ms: u64 },
}

/// What a command did.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Of [`Action::Txn`].
    Txn(TxnOutcome),
    /// Of everything else.
    Done,
}

/// The result of a command. Errors are results too: they are the same on every member.
pub type Outcome = Result<Reply, Error>;

/// One thing to keep on disk (or in a snapshot). Replaying the changes of a cluster in order of revision and path
/// through [`crate::Loader`] gives the cluster back, watch history included.
#[derive(Clone, Debug)]
pub enum Change {
    /// A version of a key, or its deletion. Identified by cluster, revision and path.
    Row(Row),
    /// A row that nothing needs any more.
    RowGone {
        cluster: ClusterId,
        revision: Revision,
        path: Bytes,
    },
    /// The small facts of a cluster.
    Meta { cluster: ClusterId, meta: Meta },
    /// A lease and the time it was granted for.
    Lease {
        cluster: ClusterId,
        id: LeaseId,
        ttl: Duration,
    },
    /// A lease has ended.
    LeaseGone { cluster: ClusterId, id: LeaseId },
    /// Every row, lease and fact of the cluster is void, and it may never come back.
    Removed { cluster: ClusterId },
}

/// A version of a key on disk.
#[derive(Clone, Debug)]
pub struct Row {
    /// The version; for a deletion a record without a value.
    pub record: Arc<Record>,
    /// Whether this is a deletion.
    pub deleted: bool,
    /// When it was made, in milliseconds since the Unix epoch; 0 if it is older than the history.
    pub at_ms: u64,
}

/// See [`Change::Meta`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// The quota, if there is one.
    pub quota: Option<Quota>,
}

/// The changes of one revision of one cluster, kept for watches and for reads in the past.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) revision: Revision,
    pub(crate) at_ms: u64,
    pub(crate) events: Arc<[Arc<Event>]>,
}
