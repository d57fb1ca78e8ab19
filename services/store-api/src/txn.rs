//! Transactions: guards, comparisons, operations.

use crate::{Error, Key, LeaseId, Record, Revision, Span};
use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::Arc;

/// What etcd answers when a branch writes a key twice.
const DUPLICATE: &str = "duplicate key given in txn request";

/// If all `compares` hold, `then` is applied, else `otherwise`; atomically, at one new revision. All keys belong to
/// the cluster that [`crate::Store::txn`] is called with; a key of another cluster is refused with [`Error::Other`].
#[derive(Clone, Debug, Default)]
pub struct Txn {
    /// Conditions outside the cluster's own data that must hold, or the call fails (fencing).
    pub guards: Vec<Guard>,
    /// Conditions on keys.
    pub compares: Vec<Compare>,
    /// Applied if every comparison holds.
    pub then: Vec<Op>,
    /// Applied if one does not.
    pub otherwise: Vec<Op>,
}

/// A condition that makes the whole call fail with [`Error::Fenced`] if it does not hold.
#[derive(Clone, Debug)]
pub enum Guard {
    /// The caller owns `slot` for `role` under `epoch`: the key `/slots/<role>/<slot>` of the management cluster holds
    /// an owner with that epoch.
    Slot { role: String, slot: u16, epoch: u64 },
}

impl Guard {
    /// The key that a slot's owner is kept under, in the management cluster; its value begins with the epoch in
    /// decimal digits, ended by a space or the end.
    pub fn slot_key(role: &str, slot: u16) -> Key {
        Key::etcd(
            &base::ClusterId::management(),
            format!("/slots/{role}/{slot}").into(),
        )
        .expect("a slot's path is neither empty nor too long")
    }

    /// Whether a slot key's value shows this epoch.
    pub fn epoch_of(value: &[u8]) -> Option<u64> {
        let digits = value.split(|b| *b == b' ').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// A condition on one key. A key that does not exist compares as revision 0, version 0, lease 0 and, for values, as
/// never equal (etcd's semantics).
#[derive(Clone, Debug)]
pub enum Compare {
    /// `mod_revision` against a number. `(Equal, 0)`: "does not exist".
    ModRevision(Key, Ordering, Revision),
    /// `mod_revision` differs from the number (etcd's NOT_EQUAL).
    ModRevisionNot(Key, Revision),
    /// `create_revision` against a number.
    CreateRevision(Key, Ordering, Revision),
    /// `version` against a number.
    Version(Key, Ordering, i64),
    /// The lease against an id.
    Lease(Key, Ordering, LeaseId),
    /// The value against bytes.
    Value(Key, Ordering, Bytes),
}

impl Compare {
    /// The key does not exist.
    pub fn absent(key: Key) -> Self {
        Self::ModRevision(key, Ordering::Equal, 0)
    }

    /// The key was last written at this revision.
    pub fn unchanged(key: Key, revision: Revision) -> Self {
        Self::ModRevision(key, Ordering::Equal, revision)
    }

    /// The key it looks at.
    pub fn key(&self) -> &Key {
        match self {
            Self::ModRevision(key, ..)
            | Self::ModRevisionNot(key, ..)
            | Self::CreateRevision(key, ..)
            | Self::Version(key, ..)
            | Self::Lease(key, ..)
            | Self::Value(key, ..) => key,
        }
    }

    /// Whether it holds for what is stored now.
    pub fn holds(&self, now: Option<&Record>) -> bool {
        match self {
            Self::ModRevision(_, want, n) => now.map_or(0, |r| r.mod_revision).cmp(n) == *want,
            Self::ModRevisionNot(_, n) => now.map_or(0, |r| r.mod_revision) != *n,
            Self::CreateRevision(_, want, n) => now.map_or(0, |r| r.create_revision).cmp(n) == *want,
            Self::Version(_, want, n) => now.map_or(0, |r| r.version).cmp(n) == *want,
            Self::Lease(_, want, n) => now.map_or(0, |r| r.lease).cmp(n) == *want,
            Self::Value(_, want, v) => now.is_some_and(|r| r.value.cmp(v) == *want),
        }
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// Reads a span as it is at this point of the transaction; limit 0 means all.
    Range { span: Span, limit: usize },
    /// Writes a value, attached to a lease if it is not 0.
    Put { key: Key, value: Bytes, lease: LeaseId },
    /// Deletes every key of the span.
    Delete { span: Span },
}

impl Op {
    /// Writes a value without a lease.
    pub fn put(key: Key, value: Bytes) -> Self {
        Self::Put { key, value, lease: 0 }
    }

    /// Deletes one key.
    pub fn delete(key: &Key) -> Self {
        Self::Delete { span: Span::one(key) }
    }

    /// Reads one key.
    pub fn get(key: &Key) -> Self {
        Self::Range {
            span: Span::one(key),
            limit: 1,
        }
    }
}

/// What one operation did.
#[derive(Clone, Debug)]
pub enum OpResult {
    /// What was read, and how many keys the span holds.
    Range { records: Vec<Arc<Record>>, count: usize },
    /// What was written, and what stood there before.
    Put {
        record: Arc<Record>,
        previous: Option<Arc<Record>>,
    },
    /// What was deleted.
    Delete { previous: Vec<Arc<Record>> },
}

/// The answer to a transaction.
#[derive(Clone, Debug)]
pub struct TxnOutcome {
    /// Whether the comparisons held.
    pub succeeded: bool,
    /// The cluster's revision afterwards; unchanged if nothing was written.
    pub revision: Revision,
    /// One for each operation of the branch that was taken.
    pub results: Vec<OpResult>,
}

impl Txn {
    /// Checks what does not need the store: every key belongs to `cluster`, and a branch puts no key twice and puts
    /// no key that it also deletes (etcd refuses both).
    pub fn check(&self, cluster: &base::ClusterId) -> Result<(), Error> {
        let foreign = |c: &base::ClusterId| c != cluster;
        let mut wrong = self.compares.iter().any(|c| foreign(&c.key().cluster));
        for branch in [&self.then, &self.otherwise] {
            let mut put = std::collections::BTreeSet::new();
            let mut deleted = Vec::new();
            for op in branch {
                match op {
                    Op::Range { span, .. } => wrong |= foreign(&span.cluster),
                    Op::Delete { span } => {
                        wrong |= foreign(&span.cluster);
                        deleted.push(span);
                    }
                    Op::Put { key, .. } => {
                        wrong |= foreign(&key.cluster);
                        if !put.insert(&key.path()[..]) {
                            return Err(Error::Other(DUPLICATE.into()));
                        }
                    }
                }
            }
            for span in deleted {
                let first = put.range(&span.start[..]..).next();
                if first.is_some_and(|path| span.contains(path)) {
                    return Err(Error::Other(DUPLICATE.into()));
                }
            }
        }
        if wrong {
            Err(Error::Other("a key of another cluster in a transaction".into()))
        } else {
            Ok(())
        }
    }
}
