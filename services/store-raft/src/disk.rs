//! What a member needs of its disk. RocksDB in production; simulations put their own in.

use bytes::Bytes;
use std::io;
use std::ops::Range;
use store_mem::{Change, Loader};
pub use store_rocks::format::{Applied, LogId, Vote};
use store_rocks::format::{Corrupt, Entry};
pub use store_rocks::{Done, LogState};

/// Where an encoded entry stands in the log.
pub fn entry_id(encoded: &Bytes) -> Result<LogId, Corrupt> {
    Entry::decode(encoded).map(|entry| entry.id)
}

/// The disk of one member. Work on the log is done in the order in which it is asked for.
pub trait Disk: Send + Sync + 'static {
    /// Where the log stands.
    fn log_state(&self) -> io::Result<LogState>;
    /// Appends encoded entries; `done` when they can no longer be lost.
    fn append(&self, entries: Vec<(u64, Bytes)>, done: Done);
    /// Stores the vote; `done` when it can no longer be lost.
    fn save_vote(&self, vote: Vote, done: Done);
    /// Notes what is committed; may be lost.
    fn save_committed(&self, committed: Option<LogId>);
    /// Deletes the entries from `from` on.
    fn truncate(&self, from: u64, done: Done);
    /// Deletes the entries up to and including `upto`.
    fn purge(&self, upto: LogId, done: Done);
    /// The encoded entries of a range, in order.
    fn read_log(&self, range: Range<u64>) -> io::Result<Vec<(u64, Bytes)>>;
    /// Writes changes of the state and how far it is, atomically; may be lost, newest first.
    fn write_state(&self, changes: &[Change], applied: &Applied) -> io::Result<()>;
    /// `done` when what was written to the state before can no longer be lost.
    fn flush_state(&self, done: Done);
    /// Replaces the whole state, atomically; `done` when it can no longer be lost.
    fn replace_state(&self, changes: std::sync::Arc<Vec<Change>>, applied: Applied, done: Done);
    /// Reads the state back.
    fn load_state(&self) -> io::Result<(Applied, Loader)>;
    /// Bytes on disk.
    fn bytes(&self) -> u64;
}

/// RocksDB as a member's disk.
#[derive(Debug)]
pub(crate) struct Rocks(pub(crate) std::sync::Arc<store_rocks::RocksDisk>);

impl Disk for Rocks {
    fn log_state(&self) -> io::Result<LogState> {
        self.0.log_state()
    }
    fn append(&self, entries: Vec<(u64, Bytes)>, done: Done) {
        self.0.append(entries, done);
    }
    fn save_vote(&self, vote: Vote, done: Done) {
        self.0.save_vote(vote, done);
    }
    fn save_committed(&self, committed: Option<LogId>) {
        self.0.save_committed(committed);
    }
    fn truncate(&self, from: u64, done: Done) {
        self.0.truncate(from, done);
    }
    fn purge(&self, upto: LogId, done: Done) {
        self.0.purge(upto, done);
    }
    fn read_log(&self, range: Range<u64>) -> io::Result<Vec<(u64, Bytes)>> {
        self.0.read_log(range)
    }
    fn write_state(&self, changes: &[Change], applied: &Applied) -> io::Result<()> {
        self.0.write_state(changes, applied)
    }
    fn flush_state(&self, done: Done) {
        let disk = self.0.clone();
        tokio::task::spawn_blocking(move || done(disk.flush_state()));
    }
    fn replace_state(&self, changes: std::sync::Arc<Vec<Change>>, applied: Applied, done: Done) {
        let disk = self.0.clone();
        tokio::task::spawn_blocking(move || done(disk.replace_state(&changes, &applied)));
    }
    fn load_state(&self) -> io::Result<(Applied, Loader)> {
        self.0.load_state()
    }
    fn bytes(&self) -> u64 {
        self.0.disk_bytes()
    }
}

/// Waits for something that ends in a [`Done`].
pub(crate) async fn wait(ask: impl FnOnce(Done)) -> io::Result<()> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    ask(Box::new(move |result| drop(tx.send(result))));
    rx.await
        .unwrap_or_else(|_| Err(io::Error::other("the disk gave no answer")))
}
