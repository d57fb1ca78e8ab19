//! The state machine of a group: every cluster's state, applied in one order, read by many.
//!
//! # Why this shape
//! Commands are applied by one caller at a time (Raft's order; a memory store takes the same lock). A reader locks
//! the one cluster that it reads, so that tenants do not contend. A cluster that nobody watches has no watch hub.
//!
//! # What must stay true
//! * The order of locks is: `order`, a cluster's `hub`, a cluster's `state`.
//! * Applying depends on the state and the command alone; what it does to watchers never flows back.

use crate::across::Across;
use crate::command::{Action, Change, Command, Entry, Outcome, Reply, Row};
use crate::hub::{Hub, Place};
use crate::intern::Interner;
use crate::state::{Context, Limits, State};
use base::ClusterId;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;
use store_api::{
    AcrossMessage, AcrossRequest, Error, Guard, Key, LeaseId, Position, Progress, Range, RangeResult, Span,
    Usage, Watch, WatchMessage, WatchRequest,
};
use tokio::sync::mpsc;

/// How an engine is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Limits of the state machine.
    pub limits: Limits,
    /// Messages that a watch may lag behind before it is cut off.
    pub watch_buffer: usize,
    /// The same for a watch across clusters.
    pub across_buffer: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            watch_buffer: 8192,
            across_buffer: 1 << 17,
        }
    }
}

/// A cluster: its state, and those who watch it.
#[derive(Debug)]
struct Cell {
    state: RwLock<State>,
    hub: Mutex<Option<Box<Hub>>>,
}

impl Cell {
    fn new(cluster: &ClusterId) -> Self {
        Self {
            state: RwLock::new(State::new(cluster.clone())),
            hub: Mutex::new(None),
        }
    }

    fn deliver(&self, entry: &Entry) {
        if let Some(hub) = &mut *self.hub.lock() {
            hub.deliver(entry);
        }
    }
}

/// What only the applier touches.
#[derive(Debug, Default)]
struct Order {
    applied: u64,
    across: Across,
    interner: Interner,
}

#[derive(Debug, Default)]
struct Map {
    cells: HashMap<ClusterId, Arc<Cell>>,
    removed: HashSet<ClusterId>,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    order: Mutex<Order>,
    map: RwLock<Map>,
}

impl Engine {
    /// An empty engine.
    pub fn new(options: EngineOptions) -> Self {
        Self {
            options,
            order: Mutex::default(),
            map: RwLock::default(),
        }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// The cell of a cluster, if it was ever written.
    fn cell(&self, cluster: &ClusterId) -> Result<Option<Arc<Cell>>, Error> {
        let map = self.map.read();
        match map.cells.get(cluster) {
            Some(cell) => Ok(Some(cell.clone())),
            None if map.removed.contains(cluster) => Err(Error::ClusterGone(cluster.clone())),
            None => Ok(None),
        }
    }

    fn cell_or_new(&self, cluster: &ClusterId) -> Result<Arc<Cell>, Error> {
        if let Some(cell) = self.cell(cluster)? {
            return Ok(cell);
        }
        let mut map = self.map.write();
        if map.removed.contains(cluster) {
            return Err(Error::ClusterGone(cluster.clone()));
        }
        Ok(map
            .cells
            .entry(cluster.clone())
            .or_insert_with(|| Arc::new(Cell::new(cluster)))
            .clone())
    }

    /// Applies the next command. What changed is appended to `changes`, for the disk.
    pub fn apply(&self, command: Command, changes: Option<&mut Vec<Change>>) -> Outcome {
        let order = &mut *self.order.lock();
        order.applied += 1;
        self.step(order, command, changes)
    }

    fn step(&self, order: &mut Order, command: Command, changes: Option<&mut Vec<Change>>) -> Outcome {
        let Order {
            applied,
            across,
            interner,
        } = order;
        let limits = &self.options.limits;
        let mut ctx = Context {
            at_ms: command.at_ms,
            limits,
            interner,
            changes,
        };
        let mut deliver = |cell: &Cell, cluster: &ClusterId, entry: Option<Entry>| {
            if let Some(entry) = entry {
                cell.deliver(&entry);
                across.deliver(*applied, cluster, &entry.events);
            }
        };
        match command.action {
            Action::Txn { cluster, txn } => {
                self.guards(&txn.guards)?;
                let cell = self.cell_or_new(&cluster)?;
                let (outcome, entry) = cell.state.write().txn(txn, &mut ctx)?;
                deliver(&cell, &cluster, entry);
                return Ok(Reply::Txn(outcome));
            }
            Action::Compact { cluster, at } => {
                self.cell_or_new(&cluster)?.state.write().compact(at, &mut ctx)?;
            }
            Action::LeaseGrant { cluster, id, ttl } => {
                self.cell_or_new(&cluster)?
                    .state
                    .write()
                    .lease_grant(id, ttl, &mut ctx)?;
            }
            Action::LeaseRevoke { cluster, id } => {
                let cell = self.cell(&cluster)?.ok_or(Error::LeaseNotFound)?;
                let entry = cell.state.write().lease_revoke(id, &mut ctx)?;
                deliver(&cell, &cluster, entry);
            }
            Action::SetQuota { cluster, quota } => {
                self.cell_or_new(&cluster)?
                    .state
                    .write()
                    .set_quota(quota, &mut ctx);
            }
            Action::RemoveCluster { cluster } => {
                if cluster == ClusterId::management() {
                    return Err(Error::Other("the management cluster cannot be removed".into()));
                }
                let cell = {
                    let mut map = self.map.write();
                    if !map.removed.insert(cluster.clone()) {
                        return Ok(Reply::Done);
                    }
                    map.cells.remove(&cluster)
                };
                if let Some(changes) = ctx.changes {
                    changes.push(Change::Removed {
                        cluster: cluster.clone(),
                    });
                }
                if let Some(cell) = cell {
                    if let Some(mut hub) = cell.hub.lock().take() {
                        hub.end(&Error::ClusterGone(cluster.clone()));
                    }
                    across.removed(&cluster);
                }
            }
            Action::Sweep { before_ms } => {
                let cells: BTreeMap<_, _> = self
                    .map
                    .read()
                    .cells
                    .iter()
                    .map(|(id, cell)| (id.clone(), cell.clone()))
                    .collect();
                for cell in cells.into_values() {
                    cell.state.write().sweep(before_ms, &mut ctx);
                }
            }
        }
        Ok(Reply::Done)
    }

    fn guards(&self, guards: &[Guard]) -> Result<(), Error> {
        for guard in guards {
            let Guard::Slot { role, slot, epoch } = guard;
            let key = Guard::slot_key(role, *slot);
            let cell = self.cell(&key.cluster)?;
            let now = cell.and_then(|c| {
                c.state
                    .read()
                    .get(key.path())
                    .and_then(|r| Guard::epoch_of(&r.value))
            });
            if now != Some(*epoch) {
                let now = now.map_or("nobody".into(), |n| format!("epoch {n}"));
                return Err(Error::Fenced(format!(
                    "slot {slot} of {role} belongs to {now}, not to epoch {epoch}"
                )));
            }
        }
        Ok(())
    }

    /// Reads a span; [`Range::consistency`] is the caller's business.
    pub fn range(&self, range: &Range) -> Result<RangeResult, Error> {
        match self.cell(&range.span.cluster)? {
            Some(cell) => cell.state.read().range(range),
            None => State::new(range.span.cluster.clone()).range(range),
        }
    }

    /// Watches a span of one cluster.
    pub fn watch(&self, request: &WatchRequest) -> Result<Watch, Error> {
        let span = &request.span;
        let cell = self.cell_or_new(&span.cluster)?;
        let mut hub = cell.hub.lock();
        let hub = hub.get_or_insert_with(Box::default);
        let state = cell.state.read();
        let started_at = state.position().revision;
        let mut replay = Vec::new();
        if let Some(from) = request.from {
            for entry in state.since(from)? {
                let inside = entry.events.iter().filter(|e| span.contains(e.record.key.path()));
                let matching = inside.clone().count();
                if matching > 0 {
                    let all = matching == entry.events.len();
                    let events = if all {
                        entry.events.clone()
                    } else {
                        inside.cloned().collect()
                    };
                    replay.push(WatchMessage::Events {
                        revision: entry.revision,
                        events,
                    });
                }
            }
        }
        // The queue holds the replay, the lag that is allowed, and the last message.
        let (sender, messages) = mpsc::channel(replay.len() + self.options.watch_buffer.max(1) + 1);
        let full = || Error::Other("a fresh queue has no place".into());
        let last = sender.clone().try_reserve_owned().map_err(|_| full())?;
        for message in replay {
            sender.try_send(message).map_err(|_| full())?;
        }
        let next = request.from.unwrap_or(0).max(started_at + 1);
        let place = hub.add(span, next, started_at, sender, last)?;
        let cell = Arc::downgrade(&cell);
        Ok(Watch {
            started_at,
            messages,
            progress: Progress::new(move || progress(&cell, &place)),
        })
    }

    /// Watches one kind across all clusters. Applying waits while the present state is put into the queue.
    pub fn watch_across(&self, request: &AcrossRequest) -> Result<mpsc::Receiver<AcrossMessage>, Error> {
        let order = &mut *self.order.lock();
        let mut initial = Vec::new();
        let mut prefix = None;
        let cells: Vec<_> = self
            .map
            .read()
            .cells
            .iter()
            .map(|(id, cell)| (id.clone(), cell.clone()))
            .collect();
        for (cluster, cell) in cells {
            if request.slots & (1 << cluster.slot()) == 0 {
                continue;
            }
            let span = collection(&cluster, &request.resource)?;
            let state = cell.state.read();
            initial.extend(state.scan(&span).map(|record| AcrossMessage::Initial {
                cluster: cluster.clone(),
                record: record.clone(),
            }));
            prefix.get_or_insert(span.start);
        }
        let prefix = match prefix {
            Some(prefix) => prefix,
            None => collection(&ClusterId::management(), &request.resource)?.start,
        };
        let (sender, receiver) = mpsc::channel(initial.len() + self.options.across_buffer.max(1) + 2);
        let full = || Error::Other("a fresh queue has no place".into());
        let last = sender.clone().try_reserve_owned().map_err(|_| full())?;
        initial.push(AcrossMessage::Synced {
            cursor: order.applied,
        });
        for message in initial {
            sender.try_send(message).map_err(|_| full())?;
        }
        order.across.add(&prefix, request.slots, sender, last);
        Ok(receiver)
    }

    /// Where a cluster's history stands.
    pub fn position(&self, cluster: &ClusterId) -> Result<Position, Error> {
        let cell = self.cell(cluster)?;
        Ok(cell.map_or(
            Position {
                revision: 1,
                compacted: 0,
            },
            |c| c.state.read().position(),
        ))
    }

    /// Bytes and objects of a cluster.
    pub fn usage(&self, cluster: &ClusterId) -> Result<Usage, Error> {
        Ok(self
            .cell(cluster)?
            .map_or(Usage::default(), |c| c.state.read().usage()))
    }

    /// The clusters that hold at least one key, in order.
    pub fn clusters(&self) -> Vec<ClusterId> {
        let map = self.map.read();
        let live = map.cells.iter().filter(|(_, cell)| !cell.state.read().is_empty());
        let mut ids: Vec<_> = live.map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// The granted time and the keys of a lease.
    pub fn lease(&self, cluster: &ClusterId, id: LeaseId) -> Result<(Duration, Vec<Key>), Error> {
        let cell = self.cell(cluster)?.ok_or(Error::LeaseNotFound)?;
        cell.state.read().lease(id)
    }

    /// The leases of a cluster and their granted times.
    pub fn leases(&self, cluster: &ClusterId) -> Result<Vec<(LeaseId, Duration)>, Error> {
        Ok(self
            .cell(cluster)?
            .map_or(Vec::new(), |c| c.state.read().leases().collect()))
    }

    /// Every lease of every cluster: what a new leader's [`crate::Lessor`] starts from.
    pub fn all_leases(&self) -> Vec<(ClusterId, LeaseId, Duration)> {
        let map = self.map.read();
        let mut all = Vec::new();
        for (cluster, cell) in &map.cells {
            all.extend(
                cell.state
                    .read()
                    .leases()
                    .map(|(id, ttl)| (cluster.clone(), id, ttl)),
            );
        }
        all
    }

    /// Whether [`Action::Sweep`] with this time would forget anything.
    pub fn sweepable(&self, before_ms: u64) -> bool {
        self.map
            .read()
            .cells
            .values()
            .any(|cell| cell.state.read().has_older_than(before_ms))
    }

    /// How many commands were applied. Every member of a group counts the same.
    pub fn applied(&self) -> u64 {
        self.order.lock().applied
    }

    /// The whole state with the number of the newest command, for [`Loader`].
    pub fn export(&self) -> (u64, Vec<Change>) {
        let order = self.order.lock();
        let map = self.map.read();
        let mut out: Vec<_> = map
            .removed
            .iter()
            .map(|id| Change::Removed { cluster: id.clone() })
            .collect();
        for cell in map.cells.values() {
            cell.state.read().export(&mut out);
        }
        (order.applied, out)
    }

    /// Replaces everything with what was loaded. Watches end, because they would have missed changes.
    pub fn replace(&self, applied: u64, loader: Loader) {
        let order = &mut *self.order.lock();
        order.applied = applied;
        let why = Error::Unavailable("this member was restored from a snapshot".into());
        order.across.end(&why);
        let cells = loader.states.into_iter().map(|(id, state)| {
            (
                id,
                Arc::new(Cell {
                    state: RwLock::new(state),
                    hub: Mutex::new(None),
                }),
            )
        });
        let fresh = Map {
            cells: cells.collect(),
            removed: loader.removed,
        };
        let old = std::mem::replace(&mut *self.map.write(), fresh);
        for cell in old.cells.values() {
            if let Some(mut hub) = cell.hub.lock().take() {
                hub.end(&why);
            }
        }
    }
}

fn collection(cluster: &ClusterId, resource: &str) -> Result<Span, Error> {
    Span::collection(cluster, resource, None).map_err(|e| Error::Other(e.to_string()))
}

fn progress(cell: &Weak<Cell>, place: &Place) {
    if let Some(cell) = cell.upgrade()
        && let Some(hub) = &mut *cell.hub.lock()
    {
        hub.progress(place);
    }
}

/// Takes a state back from disk or from a snapshot.
#[derive(Debug, Default)]
pub struct Loader {
    states: HashMap<ClusterId, State>,
    removed: HashSet<ClusterId>,
}

impl Loader {
    fn state(&mut self, cluster: &ClusterId) -> Result<&mut State, Error> {
        if self.removed.contains(cluster) {
            return Err(Error::Other(format!(
                "a change of cluster {cluster}, which was removed"
            )));
        }
        Ok(self
            .states
            .entry(cluster.clone())
            .or_insert_with(|| State::new(cluster.clone())))
    }

    /// Takes one change. For each cluster: its [`Change::Meta`] first, then leases, then rows by revision and path.
    pub fn load(&mut self, change: Change) -> Result<(), Error> {
        match change {
            Change::Meta { cluster, meta } => self.state(&cluster)?.load_meta(meta),
            Change::Lease { cluster, id, ttl } => self.state(&cluster)?.load_lease(id, ttl),
            Change::Row(Row {
                record,
                deleted,
                at_ms,
            }) => {
                let cluster = record.key.cluster.clone();
                self.state(&cluster)?.load_row(Row {
                    record,
                    deleted,
                    at_ms,
                });
            }
            Change::Removed { cluster } => {
                self.states.remove(&cluster);
                self.removed.insert(cluster);
            }
            Change::RowGone { .. } | Change::LeaseGone { .. } => {
                return Err(Error::Other("a deletion in a snapshot".into()));
            }
        }
        Ok(())
    }
}
