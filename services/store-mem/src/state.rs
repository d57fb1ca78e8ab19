//! One cluster's state: live keys, history, leases, quota. Pure: no clock, no locks, no watchers.
//!
//! # Why this shape
//! Live keys stand in one ordered map; the past is the list of events, each with the version before it. A read at an
//! old revision is the live map with the events since then undone, which costs the number of events since, bounded
//! by [`Limits`]. Rejected: a list of versions under each key, which costs memory for each key of each idle cluster.
//!
//! # What must stay true
//! The history holds *every* event with a revision at or above `compacted`. Therefore the newest entry is never
//! dropped: a watch from `compacted` finds its events, and a list at `compacted` is exact.

use crate::command::{Change, Entry, Meta, Row};
use crate::intern::Interner;
use base::ClusterId;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use store_api::{
    Derived, Error, Event, EventKind, Key, LeaseId, Op, OpResult, Position, Quota, Range, RangeResult,
    Record, Revision, Span, Txn, TxnOutcome, Usage,
};

/// Revisions of a new cluster whose bytes are shared with other clusters (see [`crate::intern`]).
const SHARED_REVISIONS: Revision = 512;

/// Limits of the state machine. They belong to the state: every member of a group must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events of one cluster's history; older ones are compacted.
    pub history_events: usize,
    /// Bytes of values that only history still holds, for one cluster.
    pub history_bytes: usize,
    /// Bytes of one value.
    pub value_bytes: usize,
    /// Bytes of all keys and values in one transaction.
    pub txn_bytes: usize,
    /// Operations and comparisons of one transaction.
    pub txn_ops: usize,
    /// Leases of one cluster.
    pub leases: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history_events: 100_000,
            history_bytes: 64 << 20,
            value_bytes: 3 << 20,
            txn_bytes: 8 << 20,
            txn_ops: 8192,
            leases: 100_000,
        }
    }
}

impl Limits {
    /// Whether a transaction is within the limits, apart from what only the state knows.
    pub fn check(&self, txn: &Txn) -> Result<(), Error> {
        let ops = txn.then.len() + txn.otherwise.len() + txn.compares.len();
        if ops > self.txn_ops {
            return Err(Error::TooLarge(format!(
                "{ops} operations, the limit is {}",
                self.txn_ops
            )));
        }
        let mut bytes = 0;
        for op in txn.then.iter().chain(&txn.otherwise) {
            if let Op::Put { key, value, .. } = op {
                if value.len() > self.value_bytes {
                    let n = value.len();
                    return Err(Error::TooLarge(format!(
                        "a value of {n} bytes, the limit is {}",
                        self.value_bytes
                    )));
                }
                bytes += key.path().len() + value.len();
            }
        }
        if bytes > self.txn_bytes {
            return Err(Error::TooLarge(format!(
                "{bytes} bytes, the limit is {}",
                self.txn_bytes
            )));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    keys: BTreeSet<Bytes>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    cluster: ClusterId,
    revision: Revision,
    compacted: Revision,
    usage: Usage,
    quota: Option<Quota>,
    live: BTreeMap<Bytes, Arc<Record>>,
    history: VecDeque<Entry>,
    history_events: usize,
    history_bytes: usize,
    leases: BTreeMap<LeaseId, Lease>,
}

fn size(record: &Record) -> u64 {
    (record.key.path().len() + record.value.len()) as u64
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// `None` for a span that ends where it begins, or before.
fn bounds(span: &Span) -> Option<Bounds<'_>> {
    let end = match &span.end {
        Some(end) if end <= &span.start => return None,
        Some(end) => Bound::Excluded(&end[..]),
        None => Bound::Unbounded,
    };
    Some((Bound::Included(&span.start[..]), end))
}

/// What an apply needs besides the command.
pub(crate) struct Context<'a> {
    pub(crate) at_ms: u64,
    pub(crate) limits: &'a Limits,
    pub(crate) interner: &'a mut Interner,
    /// Where changes for the disk go, if there is one.
    pub(crate) changes: Option<&'a mut Vec<Change>>,
}

impl Context<'_> {
    fn change(&mut self, make: impl FnOnce() -> Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(make());
        }
    }
}

impl State {
    pub(crate) fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            revision: 1,
            compacted: 0,
            usage: Usage::default(),
            quota: None,
            live: BTreeMap::new(),
            history: VecDeque::new(),
            history_events: 0,
            history_bytes: 0,
            leases: BTreeMap::new(),
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            revision: self.revision,
            compacted: self.compacted,
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) fn meta(&self) -> Meta {
        Meta {
            revision: self.revision,
            compacted: self.compacted,
            quota: self.quota,
        }
    }

    pub(crate) fn get(&self, path: &[u8]) -> Option<&Arc<Record>> {
        self.live.get(path)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// The live records of a span, in key order.
    pub(crate) fn scan<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a Arc<Record>> {
        bounds(span)
            .map(|b| self.live.range::<[u8], _>(b))
            .into_iter()
            .flatten()
            .map(|(_, record)| record)
    }

    pub(crate) fn range(&self, range: &Range) -> Result<RangeResult, Error> {
        let at = range.at.unwrap_or(self.revision);
        if at > self.revision {
            return Err(Error::FutureRevision {
                asked: at,
                current: self.revision,
            });
        }
        if at < self.compacted {
            return Err(Error::Compacted {
                compacted: self.compacted,
            });
        }
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let mut records = Vec::new();
        let mut count = 0;
        let mut take = |record: &Arc<Record>| {
            count += 1;
            if count <= limit {
                records.push(record.clone());
            }
        };
        if at == self.revision {
            self.scan(&range.span).for_each(&mut take);
        } else {
            // The oldest event after `at` for each key tells what stood there at `at`.
            let mut then: BTreeMap<&[u8], Option<&Arc<Record>>> = BTreeMap::new();
            for entry in self.history.iter().rev().take_while(|e| e.revision > at) {
                for event in entry.events.iter() {
                    let path = &event.record.key.path()[..];
                    if range.span.contains(path) {
                        then.insert(path, event.previous.as_ref());
                    }
                }
            }
            let mut old = then.into_iter().peekable();
            for record in self.scan(&range.span) {
                let path = &record.key.path()[..];
                while let Some((_, before)) = old.next_if(|(p, _)| *p < path) {
                    before.into_iter().for_each(&mut take);
                }
                match old.next_if(|(p, _)| *p == path) {
                    Some((_, before)) => before.into_iter().for_each(&mut take),
                    None => take(record),
                }
            }
            for (_, before) in old {
                before.into_iter().for_each(&mut take);
            }
        }
        Ok(RangeResult {
            records,
            count,
            more: count > limit,
            revision: self.revision,
        })
    }

    /// Entries with a revision at or above `from`, oldest first.
    pub(crate) fn since(&self, from: Revision) -> Result<impl Iterator<Item = &Entry>, Error> {
        if from < self.compacted {
            return Err(Error::Compacted {
                compacted: self.compacted,
            });
        }
        let first = self.history.partition_point(|e| e.revision < from);
        Ok(self.history.range(first..))
    }

    /// Applies a transaction whose guards hold. The new entry of the history is returned if something changed.
    pub(crate) fn txn(
        &mut self,
        txn: Txn,
        ctx: &mut Context<'_>,
    ) -> Result<(TxnOutcome, Option<Entry>), Error> {
        ctx.limits.check(&txn)?;
        let succeeded = txn
            .compares
            .iter()
            .all(|c| c.holds(self.get(c.key().path()).map(|r| &**r)));
        let ops = if succeeded { txn.then } else { txn.otherwise };
        self.admit(&ops)?;
        let mut step = Step {
            revision: self.revision + 1,
            events: BTreeMap::new(),
        };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Range { span, limit } => {
                    let records: Vec<_> = self.scan(&span).cloned().collect();
                    let count = records.len();
                    let keep = if limit == 0 { count } else { limit.min(count) };
                    OpResult::Range {
                        records: records.into_iter().take(keep).collect(),
                        count,
                    }
                }
                Op::Put { key, value, lease } => {
                    let (record, previous) = self.put(&mut step, key, value, lease, ctx);
                    OpResult::Put { record, previous }
                }
                Op::Delete { span } => {
                    let paths: Vec<Bytes> = self.scan(&span).map(|r| r.key.path().clone()).collect();
                    let previous = paths.iter().filter_map(|p| self.delete(&mut step, p)).collect();
                    OpResult::Delete { previous }
                }
            });
        }
        let entry = self.commit(step, ctx);
        Ok((
            TxnOutcome {
                succeeded,
                revision: self.revision,
                results,
            },
            entry,
        ))
    }

    /// Refuses what would go over the quota or hang on a lease that does not exist, before anything is changed.
    fn admit(&self, ops: &[Op]) -> Result<(), Error> {
        let mut objects = self.usage.objects;
        let mut bytes = self.usage.bytes;
        for op in ops {
            let Op::Put { key, value, lease } = op else {
                continue;
            };
            if *lease != 0 && !self.leases.contains_key(lease) {
                return Err(Error::LeaseNotFound);
            }
            bytes += (key.path().len() + value.len()) as u64;
            match self.live.get(key.path()) {
                Some(old) => bytes -= size(old).min(bytes),
                None => objects += 1,
            }
        }
        let Some(quota) = self.quota else { return Ok(()) };
        let over = |what: String| {
            Err(Error::QuotaExceeded {
                cluster: self.cluster.clone(),
                what,
            })
        };
        if objects > quota.objects && objects > self.usage.objects {
            return over(format!("{objects} objects, the quota is {}", quota.objects));
        }
        if bytes > quota.bytes && bytes > self.usage.bytes {
            return over(format!("{bytes} bytes, the quota is {}", quota.bytes));
        }
        Ok(())
    }

    fn put(
        &mut self,
        step: &mut Step,
        key: Key,
        value: Bytes,
        lease: LeaseId,
        ctx: &mut Context<'_>,
    ) -> (Arc<Record>, Option<Arc<Record>>) {
        let previous = self.live.get(key.path()).cloned();
        // Bytes are copied once, exactly: what a caller hands over may be a slice of a large buffer.
        let shared = self.revision < SHARED_REVISIONS;
        let path = match &previous {
            Some(old) => old.key.path().clone(),
            None if shared => ctx.interner.share(key.path()),
            None => Bytes::copy_from_slice(key.path()),
        };
        let value = if shared {
            ctx.interner.share(&value)
        } else {
            Bytes::copy_from_slice(&value)
        };
        let record = Arc::new(Record {
            key: Key::stored(&self.cluster, path.clone()),
            create_revision: previous.as_ref().map_or(step.revision, |p| p.create_revision),
            mod_revision: step.revision,
            version: previous.as_ref().map_or(1, |p| p.version + 1),
            lease,
            value,
            derived: Derived::default(),
        });
        self.set_live(path, record.clone());
        step.event(EventKind::Put, record.clone(), previous.clone());
        (record, previous)
    }

    fn delete(&mut self, step: &mut Step, path: &Bytes) -> Option<Arc<Record>> {
        let previous = self.unset_live(path)?;
        let record = Arc::new(Record {
            key: previous.key.clone(),
            create_revision: 0,
            mod_revision: step.revision,
            version: 0,
            lease: 0,
            value: Bytes::new(),
            derived: Derived::default(),
        });
        step.event(EventKind::Delete, record, Some(previous.clone()));
        Some(previous)
    }

    fn set_live(&mut self, path: Bytes, record: Arc<Record>) {
        self.usage.objects += 1;
        self.usage.bytes += size(&record);
        if record.lease != 0
            && let Some(lease) = self.leases.get_mut(&record.lease)
        {
            lease.keys.insert(path.clone());
        }
        let lease = record.lease;
        if let Some(old) = self.live.insert(path, record) {
            self.usage.objects -= 1;
            self.usage.bytes -= size(&old);
            if old.lease != lease {
                self.detach(&old);
            }
        }
    }

    fn unset_live(&mut self, path: &[u8]) -> Option<Arc<Record>> {
        let old = self.live.remove(path)?;
        self.usage.objects -= 1;
        self.usage.bytes -= size(&old);
        self.detach(&old);
        Some(old)
    }

    fn detach(&mut self, old: &Record) {
        if old.lease != 0
            && let Some(lease) = self.leases.get_mut(&old.lease)
        {
            lease.keys.remove(old.key.path());
        }
    }

    /// Makes a step's events the newest entry of the history.
    fn commit(&mut self, step: Step, ctx: &mut Context<'_>) -> Option<Entry> {
        if step.events.is_empty() {
            return None;
        }
        self.revision = step.revision;
        let events: Arc<[Arc<Event>]> = step.events.into_values().map(Arc::new).collect();
        for event in events.iter() {
            let at_ms = ctx.at_ms;
            ctx.change(|| Change::Row(row(event, at_ms)));
        }
        let entry = Entry {
            revision: self.revision,
            at_ms: ctx.at_ms,
            events,
        };
        self.remember(entry.clone());
        let over = |s: &Self| {
            s.history_events > ctx.limits.history_events || s.history_bytes > ctx.limits.history_bytes
        };
        if over(self) {
            // A tenth goes at once, so that a busy cluster at its limit does not pay for it with each write.
            let events = ctx.limits.history_events / 10 * 9;
            let bytes = ctx.limits.history_bytes / 10 * 9;
            while self.history.len() > 1 && (self.history_events > events || self.history_bytes > bytes) {
                self.forget_oldest(ctx);
            }
            self.compacted = self.history.front().map_or(self.revision, |e| e.revision);
        }
        ctx.change(|| Change::Meta {
            cluster: self.cluster.clone(),
            meta: self.meta(),
        });
        Some(entry)
    }

    fn remember(&mut self, entry: Entry) {
        self.history_events += entry.events.len();
        self.history_bytes += past_bytes(&entry);
        self.history.push_back(entry);
    }

    fn forget_oldest(&mut self, ctx: &mut Context<'_>) {
        let Some(entry) = self.history.pop_front() else {
            return;
        };
        self.history_events -= entry.events.len();
        self.history_bytes -= past_bytes(&entry);
        for event in entry.events.iter() {
            let mut gone = |record: &Record| {
                let (cluster, path) = (self.cluster.clone(), record.key.path().clone());
                ctx.change(|| Change::RowGone {
                    cluster,
                    revision: record.mod_revision,
                    path,
                });
            };
            event.previous.iter().for_each(|p| gone(p));
            if event.kind == EventKind::Delete {
                gone(&event.record);
            }
        }
    }

    /// Forgets what was before `at`.
    pub(crate) fn compact(&mut self, at: Revision, ctx: &mut Context<'_>) -> Result<(), Error> {
        if at > self.revision {
            return Err(Error::FutureRevision {
                asked: at,
                current: self.revision,
            });
        }
        if at <= self.compacted {
            return Err(Error::Compacted {
                compacted: self.compacted,
            });
        }
        while self.history.front().is_some_and(|e| e.revision < at) {
            self.forget_oldest(ctx);
        }
        self.compacted = at;
        self.trimmed(ctx);
        Ok(())
    }

    /// Whether [`State::sweep`] would forget anything.
    pub(crate) fn has_older_than(&self, before_ms: u64) -> bool {
        self.history.len() > 1 && self.history.front().is_some_and(|e| e.at_ms < before_ms)
    }

    /// Forgets history that was made before a time; the newest entry stays.
    pub(crate) fn sweep(&mut self, before_ms: u64, ctx: &mut Context<'_>) {
        if !self.has_older_than(before_ms) {
            return;
        }
        while self.has_older_than(before_ms) {
            self.forget_oldest(ctx);
        }
        self.compacted = self.history.front().map_or(self.revision, |e| e.revision);
        self.trimmed(ctx);
    }

    fn trimmed(&mut self, ctx: &mut Context<'_>) {
        if self.history.len() * 4 < self.history.capacity() {
            self.history.shrink_to(self.history.len() * 2);
        }
        ctx.change(|| Change::Meta {
            cluster: self.cluster.clone(),
            meta: self.meta(),
        });
    }

    pub(crate) fn set_quota(&mut self, quota: Option<Quota>, ctx: &mut Context<'_>) {
        self.quota = quota;
        ctx.change(|| Change::Meta {
            cluster: self.cluster.clone(),
            meta: self.meta(),
        });
    }

    pub(crate) fn lease_grant(
        &mut self,
        id: LeaseId,
        ttl: Duration,
        ctx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.leases.contains_key(&id) {
            return Err(Error::Other("lease already exists".into()));
        }
        if self.leases.len() >= ctx.limits.leases {
            let what = format!("{} leases", ctx.limits.leases);
            return Err(Error::QuotaExceeded {
                cluster: self.cluster.clone(),
                what,
            });
        }
        self.leases.insert(
            id,
            Lease {
                ttl,
                keys: BTreeSet::new(),
            },
        );
        ctx.change(|| Change::Lease {
            cluster: self.cluster.clone(),
            id,
            ttl,
        });
        Ok(())
    }

    pub(crate) fn lease_revoke(
        &mut self,
        id: LeaseId,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Entry>, Error> {
        let lease = self.leases.remove(&id).ok_or(Error::LeaseNotFound)?;
        ctx.change(|| Change::LeaseGone {
            cluster: self.cluster.clone(),
            id,
        });
        let mut step = Step {
            revision: self.revision + 1,
            events: BTreeMap::new(),
        };
        for path in &lease.keys {
            self.delete(&mut step, path);
        }
        Ok(self.commit(step, ctx))
    }

    /// The granted time and the keys of a lease.
    pub(crate) fn lease(&self, id: LeaseId) -> Result<(Duration, Vec<Key>), Error> {
        let lease = self.leases.get(&id).ok_or(Error::LeaseNotFound)?;
        let keys = lease
            .keys
            .iter()
            .map(|path| Key::stored(&self.cluster, path.clone()))
            .collect();
        Ok((lease.ttl, keys))
    }

    pub(crate) fn leases(&self) -> impl Iterator<Item = (LeaseId, Duration)> {
        self.leases.iter().map(|(id, lease)| (*id, lease.ttl))
    }

    /// Everything that [`State::load_meta`], [`State::load_lease`] and [`State::load_row`] need, in the right order.
    pub(crate) fn export(&self, out: &mut Vec<Change>) {
        let cluster = || self.cluster.clone();
        out.push(Change::Meta {
            cluster: cluster(),
            meta: self.meta(),
        });
        for (id, ttl) in self.leases() {
            out.push(Change::Lease {
                cluster: cluster(),
                id,
                ttl,
            });
        }
        let mut rows: BTreeMap<(Revision, &[u8]), Row> = BTreeMap::new();
        let bare = |record: &Arc<Record>| Row {
            record: record.clone(),
            deleted: false,
            at_ms: 0,
        };
        for record in self.live.values() {
            rows.insert((record.mod_revision, record.key.path()), bare(record));
        }
        for entry in &self.history {
            for event in entry.events.iter() {
                if let Some(old) = &event.previous {
                    rows.entry((old.mod_revision, old.key.path()))
                        .or_insert_with(|| bare(old));
                }
            }
        }
        for entry in &self.history {
            for event in entry.events.iter() {
                rows.insert(
                    (event.record.mod_revision, event.record.key.path()),
                    row(event, entry.at_ms),
                );
            }
        }
        out.extend(rows.into_values().map(Change::Row));
    }

    pub(crate) fn load_meta(&mut self, meta: Meta) {
        self.revision = meta.revision;
        self.compacted = meta.compacted;
        self.quota = meta.quota;
    }

    pub(crate) fn load_lease(&mut self, id: LeaseId, ttl: Duration) {
        self.leases.insert(
            id,
            Lease {
                ttl,
                keys: BTreeSet::new(),
            },
        );
    }

    /// Takes a row back. Rows come in order of revision, then path, after the cluster's facts and leases.
    pub(crate) fn load_row(&mut self, row: Row) {
        let path = row.record.key.path().clone();
        let kind = if row.deleted {
            EventKind::Delete
        } else {
            EventKind::Put
        };
        let previous = self.live.get(&path).cloned();
        if row.deleted {
            self.unset_live(&path);
        } else {
            self.set_live(path, row.record.clone());
        }
        let revision = row.record.mod_revision;
        if revision < self.compacted {
            return;
        }
        let event = Arc::new(Event {
            kind,
            record: row.record,
            previous,
            derived: Derived::default(),
        });
        match self.history.back_mut() {
            Some(last) if last.revision == revision => {
                self.history_events += 1;
                self.history_bytes -= past_bytes(last);
                last.events = last.events.iter().cloned().chain([event]).collect();
                self.history_bytes += past_bytes(last);
            }
            _ => self.remember(Entry {
                revision,
                at_ms: row.at_ms,
                events: Arc::new([event]),
            }),
        }
    }
}

fn row(event: &Event, at_ms: u64) -> Row {
    Row {
        record: event.record.clone(),
        deleted: event.kind == EventKind::Delete,
        at_ms,
    }
}

fn past_bytes(entry: &Entry) -> usize {
    entry
        .events
        .iter()
        .filter_map(|e| e.previous.as_ref())
        .map(|p| p.value.len())
        .sum()
}

/// A transaction in the making. One event for each key, in key order.
struct Step {
    revision: Revision,
    events: BTreeMap<Bytes, Event>,
}

impl Step {
    fn event(&mut self, kind: EventKind, record: Arc<Record>, previous: Option<Arc<Record>>) {
        let path = record.key.path().clone();
        self.events.insert(
            path,
            Event {
                kind,
                record,
                previous,
                derived: Derived::default(),
            },
        );
    }
}
