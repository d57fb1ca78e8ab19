//! A disk that loses what was not synced, is slow at times, and sometimes fails.

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store_mem::{Change, Loader};
use store_raft::disk::{Applied, Disk, Done, LogId, LogState, Vote};
use tokio::sync::Notify;

/// What is wrong with the disks, beyond being slow and failing at times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// They lie: a write is acknowledged when it is queued, and reaches the platter later. For proving that the checks
    /// find lost writes.
    AcknowledgesBeforeSync,
}

/// What survives a crash, and state that may.
#[derive(Default)]
pub(crate) struct Platter {
    log: BTreeMap<u64, Bytes>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Everything up to here is flushed.
    flushed: usize,
    state: Vec<(Vec<Change>, Applied)>,
}

impl Platter {
    /// The machine lost power: of the writes that were not flushed, the newest are gone.
    pub(crate) fn lose_power(&mut self, rng: &mut StdRng) {
        let kept = rng.random_range(self.flushed..=self.state.len());
        self.state.truncate(kept);
        self.flushed = kept;
    }
}

enum Work {
    Append(Vec<(u64, Bytes)>),
    Vote(Vote),
    Committed(Option<LogId>),
    Truncate(u64),
    Purge(LogId),
    Flush(usize),
    Replace(Arc<Vec<Change>>, Applied),
}

type Queued = (Work, Option<Done>);

/// One life of a disk: from a start of its machine to a crash.
pub(crate) struct SimDisk {
    platter: Arc<Mutex<Platter>>,
    queue: Arc<Mutex<VecDeque<Queued>>>,
    more: Arc<Notify>,
    alive: Arc<AtomicBool>,
    fault: Fault,
}

impl SimDisk {
    pub(crate) fn start(
        platter: Arc<Mutex<Platter>>,
        rng: Arc<Mutex<StdRng>>,
        alive: Arc<AtomicBool>,
        fault: Fault,
    ) -> Self {
        let disk = Self {
            platter,
            queue: Arc::default(),
            more: Arc::default(),
            alive,
            fault,
        };
        let (platter, queue) = (disk.platter.clone(), disk.queue.clone());
        let (more, alive) = (disk.more.clone(), disk.alive.clone());
        tokio::spawn(async move {
            while alive.load(Ordering::Relaxed) {
                let Some((work, done)) = queue.lock().pop_front() else {
                    // A dead disk is looked at now and then, so that its task ends.
                    drop(tokio::time::timeout(Duration::from_secs(1), more.notified()).await);
                    continue;
                };
                let (pause, fails) = {
                    let mut rng = rng.lock();
                    let slow = rng.random_bool(0.01);
                    // A lying disk takes its time, which nobody notices.
                    let slow = slow || fault == Fault::AcknowledgesBeforeSync;
                    let micros = if slow {
                        rng.random_range(10_000..200_000)
                    } else {
                        rng.random_range(100..2_000)
                    };
                    (Duration::from_micros(micros), rng.random_bool(0.0003))
                };
                if done.is_some() || fault == Fault::AcknowledgesBeforeSync {
                    tokio::time::sleep(pause).await;
                }
                let dead = !alive.load(Ordering::Relaxed);
                if dead || fails {
                    // After a failed sync nothing can be believed any more.
                    alive.store(false, Ordering::Relaxed);
                    if let Some(done) = done {
                        done(Err(io::Error::other("the disk failed")));
                    }
                    break;
                }
                apply(&mut platter.lock(), work);
                if let Some(done) = done {
                    done(Ok(()));
                }
            }
            for (_, done) in queue.lock().drain(..) {
                if let Some(done) = done {
                    done(Err(io::Error::other("the disk is gone")));
                }
            }
        });
        disk
    }

    fn submit(&self, work: Work, done: Option<Done>) {
        if !self.alive.load(Ordering::Relaxed) {
            if let Some(done) = done {
                done(Err(io::Error::other("the disk is gone")));
            }
            return;
        }
        let done = match (self.fault, done) {
            (Fault::AcknowledgesBeforeSync, Some(done)) => {
                done(Ok(()));
                None
            }
            (_, done) => done,
        };
        self.queue.lock().push_back((work, done));
        self.more.notify_one();
    }
}

fn apply(platter: &mut Platter, work: Work) {
    match work {
        Work::Append(entries) => {
            platter.log.extend(entries);
            set_last(platter);
        }
        Work::Vote(vote) => platter.vote = Some(vote),
        Work::Committed(committed) => platter.committed = committed,
        Work::Truncate(from) => {
            platter.log.split_off(&from);
            set_last(platter);
        }
        Work::Purge(upto) => {
            platter.log = platter.log.split_off(&(upto.index + 1));
            platter.purged = Some(upto);
            set_last(platter);
        }
        Work::Flush(upto) => platter.flushed = platter.flushed.max(upto.min(platter.state.len())),
        Work::Replace(changes, applied) => {
            platter.state = vec![(changes.to_vec(), applied)];
            platter.flushed = 1;
        }
    }
}

fn set_last(platter: &mut Platter) {
    let newest = platter
        .log
        .values()
        .next_back()
        .and_then(|bytes| store_raft::disk::entry_id(bytes).ok());
    platter.last = newest.max(platter.purged);
}

impl Disk for SimDisk {
    fn log_state(&self) -> io::Result<LogState> {
        let p = self.platter.lock();
        Ok(LogState {
            vote: p.vote,
            committed: p.committed,
            purged: p.purged,
            last: p.last,
        })
    }
    fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) {
        self.submit(Work::Append(entries), Some(done));
    }
    fn save_vote(&self, vote: Vote, done: Done) {
        self.submit(Work::Vote(vote), Some(done));
    }
    fn save_committed(&self, committed: Option<LogId>) {
        self.submit(Work::Committed(committed), None);
    }
    fn truncate(&self, from: u64, done: Done) {
        self.submit(Work::Truncate(from), Some(done));
    }
    fn purge(&self, upto: LogId, done: Done) {
        self.submit(Work::Purge(upto), Some(done));
    }
    fn read_log(&self, range: Range<u64>) -> io::Result<Vec<(u64, Bytes)>> {
        if range.start >= range.end {
            return Ok(Vec::new());
        }
        Ok(self
            .platter
            .lock()
            .log
            .range(range)
            .map(|(n, b)| (*n, b.clone()))
            .collect())
    }
    fn write_state(&self, changes: &[Change], applied: &Applied) -> io::Result<()> {
        if !self.alive.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.platter
            .lock()
            .state
            .push((changes.to_vec(), applied.clone()));
        Ok(())
    }
    fn flush_state(&self, done: Done) {
        let upto = self.platter.lock().state.len();
        self.submit(Work::Flush(upto), Some(done));
    }
    fn replace_state(&self, changes: Arc<Vec<Change>>, applied: Applied, done: Done) {
        self.submit(Work::Replace(changes, applied), Some(done));
    }
    fn load_state(&self) -> io::Result<(Applied, Loader)> {
        type Key = (u8, String, i64, Vec<u8>);
        let mut kept: BTreeMap<Key, Change> = BTreeMap::new();
        let mut newest = Applied::default();
        let key = |change: &Change| -> Key {
            match change {
                Change::Removed { cluster } => (0, cluster.to_string(), 0, Vec::new()),
                Change::Meta { cluster, .. } => (1, cluster.to_string(), 0, Vec::new()),
                Change::Lease { cluster, id, .. } | Change::LeaseGone { cluster, id } => {
                    (2, cluster.to_string(), *id, Vec::new())
                }
                Change::Row(row) => {
                    let k = &row.record.key;
                    (
                        3,
                        k.cluster.to_string(),
                        row.record.mod_revision,
                        k.path().to_vec(),
                    )
                }
                Change::RowGone {
                    cluster,
                    revision,
                    path,
                } => (3, cluster.to_string(), *revision, path.to_vec()),
            }
        };
        for (changes, applied) in &self.platter.lock().state {
            for change in changes {
                match change {
                    Change::RowGone { .. } | Change::LeaseGone { .. } => {
                        kept.remove(&key(change));
                    }
                    Change::Removed { cluster } => {
                        kept.retain(|k, _| k.1 != cluster.as_str());
                        kept.insert(key(change), change.clone());
                    }
                    other => {
                        kept.insert(key(other), other.clone());
                    }
                }
            }
            newest = applied.clone();
        }
        let mut loader = Loader::default();
        for change in kept.into_values() {
            loader.load(change).map_err(io::Error::other)?;
        }
        Ok((newest, loader))
    }
    fn bytes(&self) -> u64 {
        0
    }
}
