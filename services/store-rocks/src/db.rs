//! One RocksDB for one member of a group.
//!
//! # Why this shape
//! * Column families: `log` (entries), `meta` (vote, committed, purged), `state` (rows, facts, leases, applied).
//! * The log and the vote are synced before they are reported; a thread of its own drains the queue, writes one batch
//!   and syncs once, so concurrent appends share a sync.
//! * The state is written **without** the write-ahead log, in one batch with the applied position, into one column
//!   family: a batch is in one memtable as a whole, so after a crash the state is that of some earlier moment, and the
//!   log is replayed from there. Therefore nothing is purged from the log before [`RocksDisk::flush_state`].
//!   Rejected: the write-ahead log for both, which writes every value a second time.
//!
//! # What must stay true
//! * A torn last record of the write-ahead log is cut off; damage before it refuses to open.
//! * After a failed sync nothing is acknowledged any more: RocksDB turns read-only, and the error is final.

use crate::format::{
    self, Applied, Corrupt, Kind, LogId, Vote, cluster_prefix, kind_prefix, lease_key, meta_key, removed_key,
    row_key,
};
use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, ColumnFamilyRef, DB, DBCompressionType, DBRecoveryMode,
    Direction, IteratorMode, WriteBatch, WriteOptions,
};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use store_mem::{Change, Loader};

const LOG: &str = "log";
const META: &str = "meta";
const STATE: &str = "state";
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
const APPLIED: &[u8] = b"!applied";
/// Work that one sync covers at most.
const BATCH: usize = 1024;
/// Work that may wait for the disk.
const QUEUE: usize = 4096;

/// How the database is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; it is made if it does not exist.
    pub dir: PathBuf,
    /// Bytes of a memtable; there are up to two for the log and two for the state.
    pub write_buffer: usize,
    /// Bytes of the block cache. Memory serves reads, so it is only used at start.
    pub block_cache: usize,
}

impl Options {
    /// Small memory for this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            write_buffer: 16 << 20,
            block_cache: 4 << 20,
        }
    }
}

/// Told when something is on disk, or that it never will be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Where the log stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The vote.
    pub vote: Option<Vote>,
    /// The last entry that was known to be committed.
    pub committed: Option<LogId>,
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The last entry; the purged one if nothing follows it.
    pub last: Option<LogId>,
}

enum Work {
    Append(Vec<(u64, Bytes)>, Done),
    Vote(Vote, Done),
    Committed(Option<LogId>),
    Truncate { from: u64, done: Done },
    Purge { upto: LogId, done: Done },
}

/// See the module.
pub struct RocksDisk {
    db: Arc<DB>,
    work: Option<mpsc::SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for RocksDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksDisk")
            .field("path", &self.db.path())
            .finish()
    }
}

fn other(e: rocksdb::Error) -> io::Error {
    io::Error::other(e)
}

fn index_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

impl RocksDisk {
    /// Opens the database, and makes it if it is not there.
    pub fn open(options: &Options) -> io::Result<Self> {
        std::fs::create_dir_all(&options.dir)?;
        let mut db = rocksdb::Options::default();
        db.create_if_missing(true);
        db.create_missing_column_families(true);
        db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        db.set_track_and_verify_wals_in_manifest(true);
        db.set_max_total_wal_size(4 * options.write_buffer as u64);
        db.set_max_open_files(128);
        db.set_keep_log_file_num(2);
        db.set_max_log_file_size(1 << 20);
        db.set_max_background_jobs(2);
        db.set_stats_dump_period_sec(0);
        let cache = Cache::new_lru_cache(options.block_cache);
        let family = |name: &str, write_buffer: usize, compression| {
            let mut cf = rocksdb::Options::default();
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&cache);
            table.set_cache_index_and_filter_blocks(true);
            cf.set_block_based_table_factory(&table);
            cf.set_write_buffer_size(write_buffer);
            cf.set_max_write_buffer_number(2);
            cf.set_compression_type(compression);
            ColumnFamilyDescriptor::new(name, cf)
        };
        let families = [
            family(LOG, options.write_buffer, DBCompressionType::None),
            family(META, 64 << 10, DBCompressionType::None),
            family(STATE, options.write_buffer, DBCompressionType::Lz4),
            family("default", 64 << 10, DBCompressionType::None),
        ];
        let db = Arc::new(DB::open_cf_descriptors(&db, &options.dir, families).map_err(other)?);
        let (work, queue) = mpsc::sync_channel(QUEUE);
        let writer = Arc::clone(&db);
        let thread = std::thread::Builder::new()
            .name("store-log".into())
            .spawn(move || write_log(&writer, &queue))?;
        Ok(Self {
            db,
            work: Some(work),
            thread: Some(thread),
        })
    }

    fn family(&self, name: &str) -> io::Result<ColumnFamilyRef<'_>> {
        family(&self.db, name)
    }

    fn submit(&self, work: Work) {
        let Some(queue) = &self.work else { return };
        if let Err(mpsc::SendError(work)) = queue.send(work) {
            let gone = || Err(io::Error::other("the log's writer has stopped after an error"));
            match work {
                Work::Append(_, done) | Work::Vote(_, done) => done(gone()),
                Work::Truncate { done, .. } | Work::Purge { done, .. } => done(gone()),
                Work::Committed(_) => {}
            }
        }
    }

    /// Where the log stands on disk.
    pub fn log_state(&self) -> io::Result<LogState> {
        let meta = self.family(META)?;
        let get = |key: &[u8]| self.db.get_cf(&meta, key).map_err(other);
        let vote = get(VOTE)?.map(|v| Vote::decode(&v)).transpose()?;
        let committed = get(COMMITTED)?.map(|v| LogId::decode(&v)).transpose()?;
        let purged = get(PURGED)?.map(|v| LogId::decode(&v)).transpose()?;
        let newest = self
            .db
            .iterator_cf(&self.family(LOG)?, IteratorMode::End)
            .next()
            .transpose()
            .map_err(other)?;
        let newest = newest
            .map(|(_, v)| format::Entry::decode(&v.into_vec().into()))
            .transpose()?;
        Ok(LogState {
            vote,
            committed,
            purged,
            last: newest.map(|e| e.id).max(purged),
        })
    }

    /// Appends encoded entries. `done` is called when they are synced, after everything appended before.
    pub fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) {
        self.submit(Work::Append(entries, done));
    }

    /// Stores the vote. `done` is called when it is synced.
    pub fn save_vote(&self, vote: Vote, done: Done) {
        self.submit(Work::Vote(vote, done));
    }

    /// Notes what is committed; reaches the disk with the next sync.
    pub fn save_committed(&self, committed: Option<LogId>) {
        self.submit(Work::Committed(committed));
    }

    /// Deletes the entries from `from` on.
    pub fn truncate(&self, from: u64, done: Done) {
        self.submit(Work::Truncate { from, done });
    }

    /// Deletes the entries up to and including `upto`. The state must have been flushed with them.
    pub fn purge(&self, upto: LogId, done: Done) {
        self.submit(Work::Purge { upto, done });
    }

    /// The encoded entries of a range, in order; what is missing is left out.
    pub fn read_log(&self, range: Range<u64>) -> io::Result<Vec<(u64, Bytes)>> {
        let log = self.family(LOG)?;
        let start = index_key(range.start);
        let mut entries = Vec::new();
        for item in self
            .db
            .iterator_cf(&log, IteratorMode::From(&start, Direction::Forward))
        {
            let (key, value) = item.map_err(other)?;
            let index = <[u8; 8]>::try_from(&key[..]).map_err(|_| Corrupt("a key of the log".into()))?;
            let index = u64::from_be_bytes(index);
            if index >= range.end {
                break;
            }
            entries.push((index, value.into_vec().into()));
        }
        Ok(entries)
    }

    /// Writes changes of the state and how far it is, atomically. Not synced: see the module.
    pub fn write_state(&self, changes: &[Change], applied: &Applied) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        self.put_changes(&mut batch, changes, applied)?;
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(other)
    }

    fn put_changes(&self, batch: &mut WriteBatch, changes: &[Change], applied: &Applied) -> io::Result<()> {
        let state = self.family(STATE)?;
        for change in changes {
            match change {
                Change::Row(row) => {
                    let record = &row.record;
                    let key = row_key(&record.key.cluster, record.mod_revision, record.key.path());
                    batch.put_cf(&state, key, format::encode_change(change)?);
                }
                Change::RowGone {
                    cluster,
                    revision,
                    path,
                } => {
                    batch.delete_cf(&state, row_key(cluster, *revision, path));
                }
                Change::Meta { cluster, .. } => {
                    batch.put_cf(&state, meta_key(cluster), format::encode_change(change)?);
                }
                Change::Lease { cluster, id, .. } => {
                    batch.put_cf(&state, lease_key(cluster, *id), format::encode_change(change)?);
                }
                Change::LeaseGone { cluster, id } => batch.delete_cf(&state, lease_key(cluster, *id)),
                Change::Removed { cluster } => {
                    for kind in [Kind::Row, Kind::Lease, Kind::Meta] {
                        let from = cluster_prefix(kind, cluster);
                        let mut to = from.clone();
                        to.pop();
                        to.push(1);
                        batch.delete_range_cf(&state, from, to);
                    }
                    batch.put_cf(&state, removed_key(cluster), format::encode_change(change)?);
                }
            }
        }
        batch.put_cf(&state, APPLIED, applied.encode());
        Ok(())
    }

    /// Brings the state to disk; blocks. Afterwards the log may be purged up to what was applied before the call.
    pub fn flush_state(&self) -> io::Result<()> {
        self.db.flush_cf(&self.family(STATE)?).map_err(other)
    }

    /// Replaces the whole state by another, atomically and synced; blocks.
    pub fn replace_state(&self, changes: &[Change], applied: &Applied) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(&self.family(STATE)?, &[0u8][..], &[0xffu8][..]);
        self.put_changes(&mut batch, changes, applied)?;
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(other)
    }

    /// Reads the state back.
    pub fn load_state(&self) -> io::Result<(Applied, Loader)> {
        let state = self.family(STATE)?;
        let applied = self.db.get_cf(&state, APPLIED).map_err(other)?;
        let applied = applied
            .map(|v| Applied::decode(&v))
            .transpose()?
            .unwrap_or_default();
        let mut loader = Loader::default();
        for kind in [Kind::Removed, Kind::Meta, Kind::Lease, Kind::Row] {
            let prefix = kind_prefix(kind);
            for item in self
                .db
                .iterator_cf(&state, IteratorMode::From(&prefix, Direction::Forward))
            {
                let (key, value) = item.map_err(other)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                loader
                    .load(format::decode_change(&value)?)
                    .map_err(|e| Corrupt(e.to_string()))?;
            }
        }
        Ok((applied, loader))
    }

    /// Bytes of the tables on disk, without the write-ahead log.
    pub fn disk_bytes(&self) -> u64 {
        let size = |name| {
            let family = self.family(name).ok()?;
            self.db
                .property_int_value_cf(&family, "rocksdb.total-sst-files-size")
                .ok()
                .flatten()
        };
        [LOG, META, STATE].into_iter().filter_map(size).sum()
    }
}

impl Drop for RocksDisk {
    fn drop(&mut self) {
        // The queue ends, the writer finishes what is in it.
        self.work = None;
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}

fn family<'a>(db: &'a DB, name: &str) -> io::Result<ColumnFamilyRef<'a>> {
    db.cf_handle(name)
        .ok_or_else(|| io::Error::other(format!("no column family {name}")))
}

/// The log's thread: drains the queue, writes one batch, syncs once, reports to all. The first error ends it.
fn write_log(db: &DB, queue: &mpsc::Receiver<Work>) {
    while let Ok(first) = queue.recv() {
        let mut batch = WriteBatch::default();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        let mut result = Ok(());
        while let Some(work) = next {
            if let Err(e) = stage(db, &mut batch, work, &mut waiting) {
                result = Err(e);
                break;
            }
            next = if waiting.len() < BATCH {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        if result.is_ok() {
            let mut options = WriteOptions::default();
            options.set_sync(!waiting.is_empty());
            result = db.write_opt(batch, &options).map_err(other);
        }
        match result {
            Ok(()) => waiting.into_iter().for_each(|done| done(Ok(()))),
            Err(e) => {
                tracing::error!(error = %e, "the store's log cannot be written any more");
                for done in waiting {
                    done(Err(io::Error::new(e.kind(), e.to_string())));
                }
                return;
            }
        }
    }
}

fn stage(db: &DB, batch: &mut WriteBatch, work: Work, waiting: &mut Vec<Done>) -> io::Result<()> {
    let log = family(db, LOG)?;
    let meta = family(db, META)?;
    match work {
        Work::Append(entries, done) => {
            waiting.push(done);
            for (index, entry) in entries {
                batch.put_cf(&log, index_key(index), entry);
            }
        }
        Work::Vote(vote, done) => {
            waiting.push(done);
            batch.put_cf(&meta, VOTE, vote.encode());
        }
        Work::Committed(Some(id)) => batch.put_cf(&meta, COMMITTED, id.encode()),
        Work::Committed(None) => batch.delete_cf(&meta, COMMITTED),
        Work::Truncate { from, done } => {
            waiting.push(done);
            batch.delete_range_cf(&log, &index_key(from)[..], &index_key(u64::MAX)[..]);
        }
        Work::Purge { upto, done } => {
            waiting.push(done);
            batch.delete_range_cf(&log, &index_key(0)[..], &index_key(upto.index + 1)[..]);
            batch.put_cf(&meta, PURGED, upto.encode());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Entry, Payload};
    use store_api::{Consistency, EventKind, Key, Op, Span, Txn, WatchMessage, WatchRequest};
    use store_mem::{Action, Command, Engine, EngineOptions};

    fn wait(submit: impl FnOnce(Done)) -> io::Result<()> {
        let (tx, rx) = mpsc::channel();
        submit(Box::new(move |result| tx.send(result).unwrap()));
        rx.recv().unwrap()
    }

    fn entry(index: u64) -> (u64, Bytes) {
        let entry = Entry {
            id: LogId { term: 1, index },
            payload: Payload::Blank,
        };
        (index, entry.encode().into())
    }

    #[test]
    fn the_log_survives_a_restart_and_can_be_cut_at_both_ends() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        let vote = Vote {
            term: 3,
            node: 2,
            committed: true,
        };
        {
            let disk = RocksDisk::open(&options).unwrap();
            assert_eq!(disk.log_state().unwrap(), LogState::default());
            wait(|done| disk.append((1..=10).map(entry).collect(), done)).unwrap();
            wait(|done| disk.save_vote(vote, done)).unwrap();
            wait(|done| disk.truncate(9, done)).unwrap();
            disk.save_committed(Some(LogId { term: 1, index: 7 }));
            wait(|done| disk.purge(LogId { term: 1, index: 3 }, done)).unwrap();
        }
        let disk = RocksDisk::open(&options).unwrap();
        let at = |index| Some(LogId { term: 1, index });
        let state = LogState {
            vote: Some(vote),
            committed: at(7),
            purged: at(3),
            last: at(8),
        };
        assert_eq!(disk.log_state().unwrap(), state);
        assert_eq!(
            disk.read_log(0..100).unwrap(),
            (4..=8).map(entry).collect::<Vec<_>>()
        );
        assert_eq!(disk.read_log(5..7).unwrap(), [entry(5), entry(6)]);
        wait(|done| disk.purge(LogId { term: 1, index: 8 }, done)).unwrap();
        assert_eq!(disk.log_state().unwrap().last, at(8));
    }

    #[tokio::test]
    async fn the_state_comes_back_with_its_history() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path());
        let engine = Engine::new(EngineOptions::default());
        let a: base::ClusterId = "a".parse().unwrap();
        let gone: base::ClusterId = "a-gone".parse().unwrap();
        let put = |c: &base::ClusterId, name: &str, value: &'static str| {
            let op = Op::put(
                Key::object(c, "pods", Some("ns"), name).unwrap(),
                Bytes::from_static(value.as_bytes()),
            );
            Action::Txn {
                cluster: c.clone(),
                txn: Txn {
                    then: vec![op],
                    ..Txn::default()
                },
            }
        };
        let delete = |name: &str| {
            let key = Key::object(&a, "pods", Some("ns"), name).unwrap();
            Action::Txn {
                cluster: a.clone(),
                txn: Txn {
                    then: vec![Op::delete(&key)],
                    ..Txn::default()
                },
            }
        };
        {
            let disk = RocksDisk::open(&options).unwrap();
            let actions = [
                put(&a, "x", "1"),
                put(&gone, "x", "1"),
                put(&a, "y", "1"),
                put(&a, "x", "2"),
                Action::Compact {
                    cluster: a.clone(),
                    at: 3,
                },
                delete("y"),
                put(&a, "z", "1"),
                Action::RemoveCluster {
                    cluster: gone.clone(),
                },
            ];
            for (n, action) in actions.into_iter().enumerate() {
                let mut changes = Vec::new();
                engine
                    .apply(Command { at_ms: 5, action }, Some(&mut changes))
                    .unwrap();
                let applied = Applied {
                    commands: n as u64 + 1,
                    ..Applied::default()
                };
                disk.write_state(&changes, &applied).unwrap();
            }
            disk.flush_state().unwrap();
        }
        let disk = RocksDisk::open(&options).unwrap();
        let (applied, loader) = disk.load_state().unwrap();
        let back = Engine::new(EngineOptions::default());
        back.replace(applied.commands, loader);
        let show = |engine: &Engine| {
            let (applied, mut changes) = engine.export();
            changes.sort_by_key(|c| format!("{c:?}"));
            format!("{applied} {changes:?} {:?}", engine.usage(&a))
        };
        assert_eq!(show(&back), show(&engine));
        assert!(matches!(
            back.position(&gone),
            Err(store_api::Error::ClusterGone(_))
        ));
        let span = Span::collection(&a, "pods", None).unwrap();
        let range = store_api::Range {
            span: span.clone(),
            at: Some(4),
            limit: 0,
            consistency: Consistency::Local,
        };
        assert_eq!(back.range(&range).unwrap().count, 2);
        let mut watch = back.watch(&WatchRequest { span, from: Some(5) }).unwrap();
        let Some(WatchMessage::Events { events, .. }) = watch.messages.recv().await else {
            panic!("events")
        };
        let previous = events[0].previous.as_ref().unwrap();
        assert_eq!(
            (events[0].kind, &previous.value[..]),
            (EventKind::Delete, &b"1"[..])
        );
    }
}
