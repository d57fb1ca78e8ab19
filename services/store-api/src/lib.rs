//! The seam of the store: keys that carry their cluster, MVCC reads, guarded transactions, gap-free watches, leases.
//!
//! # Why this shape
//! It is etcd's model (revisions, ranges, transactions, leases, compaction), because the API server must also run on
//! a real etcd and a real kube-apiserver on our store; and it is not etcd's API, because **each cluster has its own
//! revision, compaction point and watch history**. No call takes a raw key: a [`Key`] or [`Span`] always names its
//! [`ClusterId`], so a neighbour cannot be reached by a slip of string joining.
//!
//! # What must stay true
//! * Revisions of one cluster start at 1 (a cluster that was never written is at revision 1, as an empty etcd is), and grow by one for
//!   each transaction that changes something; all changes of one transaction share the revision.
//! * A watch from revision `r` delivers every change with `mod_revision >= r`, in order, once, or fails with
//!   [`Error::Compacted`]; it never skips.
//! * A write is acknowledged only after it is durable (for stores that are).
//! * Values are opaque here. What readers derive from them is kept beside them in [`Record::derived`], once.
//!
//! # Notes for implementors
//! The suite in `suite` is the contract; run it on every implementation.

mod key;
mod progress;
mod record;
pub mod suite;
mod txn;

pub use key::{Key, KeyError, Span};
pub use progress::Progress;
pub use record::{Derived, Event, EventKind, Record};
pub use txn::{Compare, Guard, Op, OpResult, Txn, TxnOutcome};

use async_trait::async_trait;
use base::ClusterId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A position in one cluster's history.
pub type Revision = i64;

/// A lease's id; never 0.
pub type LeaseId = i64;

/// Why a store call failed. A closed set that callers act on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The revision asked for has been compacted away; the oldest one that can be read is `compacted`.
    #[error("required revision has been compacted (compacted at {compacted})")]
    Compacted { compacted: Revision },
    /// The revision asked for does not exist yet.
    #[error("required revision {asked} is a future revision (current {current})")]
    FutureRevision { asked: Revision, current: Revision },
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The cluster's byte or object quota is used up; deletes still pass.
    #[error("cluster {cluster} is over its quota: {what}")]
    QuotaExceeded { cluster: ClusterId, what: String },
    /// The request is over a limit of the store (value size, number of operations).
    #[error("request is too large: {0}")]
    TooLarge(String),
    /// No leader, not enough members, or the call timed out: it may be repeated. A write may or may not have happened.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The fence of the transaction does not hold any more: another owner took over.
    #[error("fenced off: {0}")]
    Fenced(String),
    /// The cluster was removed, or is being removed.
    #[error("cluster {0} is gone")]
    ClusterGone(ClusterId),
    /// Anything else; nothing a caller can act on.
    #[error("store error: {0}")]
    Other(String),
}

/// What to read: a span of keys at a revision.
#[derive(Clone, Debug)]
pub struct Range {
    /// Which keys.
    pub span: Span,
    /// Read as of this revision; `None` reads the newest.
    pub at: Option<Revision>,
    /// At most this many records, in key order; 0 means all.
    pub limit: usize,
    /// Whether the answer must reflect every write acknowledged before the call (linearizable), or may come from
    /// this member's own applied state.
    pub consistency: Consistency,
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Every write that was acknowledged before the call is seen.
    Linearizable,
    /// Whatever this member has applied.
    Local,
}

/// The answer to a [`Range`].
#[derive(Clone, Debug)]
pub struct RangeResult {
    /// In key order.
    pub records: Vec<Arc<Record>>,
    /// How many keys of the span exist at that revision, whatever the limit.
    pub count: usize,
    /// Whether the limit cut the answer short.
    pub more: bool,
    /// The cluster's revision when the read was served.
    pub revision: Revision,
}

/// What to watch in one cluster.
#[derive(Clone, Debug)]
pub struct WatchRequest {
    /// Which keys.
    pub span: Span,
    /// Deliver changes with `mod_revision >= from`; `None` means "from now on".
    pub from: Option<Revision>,
}

/// Messages of a watch. Revisions never go back.
#[derive(Clone, Debug)]
pub enum WatchMessage {
    /// All changes of one revision that lie in the span, in key order.
    Events {
        revision: Revision,
        events: Arc<[Arc<Event>]>,
    },
    /// Nothing in the span has changed up to and including this revision. Sent on request ([`Watch::progress`]).
    Progress { revision: Revision },
    /// The watch is over: the reader was too slow, the history was compacted, or the store went away. Nothing follows.
    Failed(Error),
}

/// One running watch; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    /// The revision of the cluster when the watch began.
    pub started_at: Revision,
    /// Messages, bounded. A reader that lets it fill up is told [`Error::Unavailable`] and cut off.
    pub messages: mpsc::Receiver<WatchMessage>,
    /// Asks for a [`WatchMessage::Progress`].
    pub progress: Progress,
}

/// A change anywhere in the group, for the system's own informers.
#[derive(Clone, Debug)]
pub struct AcrossEvent {
    /// Position in the group's log: the cursor to resume from. Never shown to a tenant.
    pub cursor: u64,
    /// Whose change.
    pub cluster: ClusterId,
    /// The change.
    pub event: Arc<Event>,
}

/// Messages of a watch across clusters.
#[derive(Clone, Debug)]
pub enum AcrossMessage {
    /// The state at the beginning, one message a record, in no particular order of clusters.
    Initial { cluster: ClusterId, record: Arc<Record> },
    /// Everything up to here was the initial state.
    Synced { cursor: u64 },
    /// A change after the initial state.
    Event(AcrossEvent),
    /// A whole cluster has gone; forget everything of it.
    ClusterRemoved { cluster: ClusterId },
    /// The watch is over; begin anew.
    Failed(Error),
}

/// What to watch across clusters: one kind, in some slots.
#[derive(Clone, Debug)]
pub struct AcrossRequest {
    /// The collection, e.g. `pods` or `apps/deployments`: what [`Key::object`] was given as `resource`.
    pub resource: String,
    /// Bit `n` set: clusters of slot `n` are watched. `u64::MAX` is everything.
    pub slots: u64,
}

/// The store. One value serves every cluster of its group.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads a span of keys.
    async fn range(&self, range: Range) -> Result<RangeResult, Error>;

    /// Compares, and then applies one of two lists of operations, atomically. See [`Txn`].
    async fn txn(&self, cluster: &ClusterId, txn: Txn) -> Result<TxnOutcome, Error>;

    /// Watches a span of one cluster.
    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error>;

    /// Watches one kind across all clusters: the present state, then changes. Only for the system itself.
    async fn watch_across(&self, request: AcrossRequest) -> Result<mpsc::Receiver<AcrossMessage>, Error>;

    /// Forgets history before `at`: reads at, and watches from, an older revision fail with [`Error::Compacted`].
    /// So does compacting there again (etcd's answer).
    async fn compact(&self, cluster: &ClusterId, at: Revision) -> Result<(), Error>;

    /// The cluster's present revision (linearizable) and its compaction point.
    async fn revision(&self, cluster: &ClusterId, consistency: Consistency) -> Result<Position, Error>;

    /// Grants a lease. `id` 0 lets the store choose. Keys attached to it are deleted when it ends.
    async fn lease_grant(&self, cluster: &ClusterId, id: LeaseId, ttl: Duration) -> Result<LeaseId, Error>;
    /// Ends a lease and deletes its keys.
    async fn lease_revoke(&self, cluster: &ClusterId, id: LeaseId) -> Result<(), Error>;
    /// Renews a lease for its full time to live and returns that time.
    async fn lease_keep_alive(&self, cluster: &ClusterId, id: LeaseId) -> Result<Duration, Error>;
    /// What is left of a lease, its granted time, and its keys.
    async fn lease_info(&self, cluster: &ClusterId, id: LeaseId) -> Result<LeaseInfo, Error>;
    /// The ids of a cluster's leases.
    async fn leases(&self, cluster: &ClusterId) -> Result<Vec<LeaseId>, Error>;

    /// Sets a cluster's quota, or lifts it. Stores without quotas refuse with [`Error::Other`].
    async fn set_quota(&self, _cluster: &ClusterId, _quota: Option<Quota>) -> Result<(), Error> {
        Err(Error::Other("this store keeps no quotas".into()))
    }

    /// Removes everything of a cluster: keys, history, leases, quota. Repeating it is harmless. An id is never used
    /// again: a store may answer every later call for it with [`Error::ClusterGone`].
    async fn remove_cluster(&self, cluster: &ClusterId) -> Result<(), Error>;

    /// The clusters that hold at least one key.
    async fn clusters(&self) -> Result<Vec<ClusterId>, Error>;

    /// Bytes and objects of a cluster, for quotas and for the operator.
    async fn usage(&self, cluster: &ClusterId) -> Result<Usage, Error>;

    /// The state of this member, for health checks and the Maintenance service.
    async fn status(&self) -> Status;
}

/// Where a cluster's history stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can be read and watched from; 0 if nothing was ever compacted.
    pub compacted: Revision,
}

/// See [`Store::lease_info`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The time to live that was granted.
    pub granted: Duration,
    /// What is left of it.
    pub remaining: Duration,
    /// Keys attached to it.
    pub keys: Vec<Key>,
}

/// See [`Store::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Live keys.
    pub objects: u64,
    /// Bytes of live keys and values.
    pub bytes: u64,
}

/// The most that a cluster may hold. Checked inside the transaction; see [`Error::QuotaExceeded`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Live keys.
    pub objects: u64,
    /// Bytes of live keys and values.
    pub bytes: u64,
}

/// See [`Store::status`].
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// This member's id in its group.
    pub member: u64,
    /// The leader's id, if one is known.
    pub leader: Option<u64>,
    /// Raft's term (0 where there is no Raft).
    pub term: u64,
    /// The last log index applied.
    pub applied: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
}
