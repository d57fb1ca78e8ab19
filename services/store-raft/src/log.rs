//! Raft's log for openraft: a disk, and the newest entries in memory, decoded.
//!
//! Entries can be read as soon as they were handed over, before they are on disk; therefore nothing leaves the tail in
//! memory that is not synced yet.

use crate::disk::{Disk, wait};
use crate::types::{
    Entry, LogId, Types, Vote, decode_entry, encode_entry, log_id, plain_id, plain_vote, vote,
};
use bytes::Bytes;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Entries kept in memory, beyond those that are not synced yet.
const KEPT: usize = 1024;
/// Their bytes.
const KEPT_BYTES: usize = 8 << 20;

#[derive(Default)]
struct Tail {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    synced: u64,
}

impl Tail {
    fn first(&self) -> Option<u64> {
        self.entries.front().map(|(e, _)| e.log_id.index)
    }

    fn trim(&mut self) {
        while let Some((entry, size)) = self.entries.front() {
            let spare = self.entries.len() > KEPT || self.bytes > KEPT_BYTES;
            if !spare || entry.log_id.index > self.synced {
                break;
            }
            self.bytes -= size;
            self.entries.pop_front();
        }
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogStore {
    disk: Arc<dyn Disk>,
    tail: Arc<Mutex<Tail>>,
    vote: Arc<Mutex<Option<Vote>>>,
    last: Arc<Mutex<Option<LogId>>>,
    purged: Arc<Mutex<Option<LogId>>>,
}

impl LogStore {
    pub(crate) fn open(disk: Arc<dyn Disk>) -> io::Result<Self> {
        let state = disk.log_state()?;
        Ok(Self {
            disk,
            tail: Arc::default(),
            vote: Arc::new(Mutex::new(state.vote.map(vote))),
            last: Arc::new(Mutex::new(state.last.map(log_id))),
            purged: Arc::new(Mutex::new(state.purged.map(log_id))),
        })
    }
}

fn size(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.encoded.len(),
        _ => 0,
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => n + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(n) => n + 1,
            Bound::Excluded(n) => *n,
            Bound::Unbounded => u64::MAX,
        };
        let (cached, from) = {
            let tail = self.tail.lock();
            let from = tail.first().unwrap_or(u64::MAX);
            let inside = tail
                .entries
                .iter()
                .map(|(e, _)| e)
                .filter(|e| (start..end).contains(&e.log_id.index));
            (
                if end > from {
                    inside.cloned().collect()
                } else {
                    Vec::new()
                },
                from,
            )
        };
        if start >= from {
            return Ok(cached);
        }
        let older = self.disk.read_log(start..end.min(from))?;
        let mut entries = older
            .iter()
            .map(|(_, b)| decode_entry(b))
            .collect::<Result<Vec<_>, _>>()?;
        entries.extend(cached);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(*self.vote.lock())
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        Ok(LogState {
            last_purged_log_id: *self.purged.lock(),
            last_log_id: *self.last.lock(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        wait(|done| self.disk.save_vote(plain_vote(vote), done)).await?;
        *self.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.disk.save_committed(committed.as_ref().map(plain_id));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.disk.log_state()?.committed.map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded: Vec<(u64, Bytes)> = Vec::new();
        {
            let mut tail = self.tail.lock();
            for entry in entries {
                encoded.push((entry.log_id.index, encode_entry(&entry)));
                *self.last.lock() = Some(entry.log_id);
                let size = size(&entry);
                tail.bytes += size;
                tail.entries.push_back((entry, size));
            }
            tail.trim();
        }
        let upto = encoded.last().map_or(0, |(index, _)| *index);
        let tail = self.tail.clone();
        self.disk.append(
            encoded,
            Box::new(move |result| {
                if result.is_ok() {
                    let mut tail = tail.lock();
                    tail.synced = tail.synced.max(upto);
                }
                callback.io_completed(result);
            }),
        );
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.as_ref().map_or(0, |id| id.index + 1);
        {
            let mut tail = self.tail.lock();
            while tail.entries.back().is_some_and(|(e, _)| e.log_id.index >= from) {
                let size = tail.entries.pop_back().map_or(0, |(_, size)| size);
                tail.bytes -= size;
            }
            tail.synced = tail.synced.min(from.saturating_sub(1));
            *self.last.lock() = last;
        }
        wait(|done| self.disk.truncate(from, done)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        {
            let mut tail = self.tail.lock();
            while tail
                .entries
                .front()
                .is_some_and(|(e, _)| e.log_id.index <= upto.index)
            {
                let size = tail.entries.pop_front().map_or(0, |(_, size)| size);
                tail.bytes -= size;
            }
            *self.purged.lock() = Some(upto);
            let mut last = self.last.lock();
            *last = (*last).max(Some(upto));
        }
        wait(|done| self.disk.purge(plain_id(&upto), done)).await
    }
}
