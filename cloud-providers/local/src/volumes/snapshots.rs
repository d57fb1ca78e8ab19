//! Snapshots: full copies of volumes' disks, clones where the filesystem has them.

use super::disk;
use crate::Options;
use crate::records::{io_error, load_all, save};
use cloud_api::{CloudError, Result, Snapshot, Tags, Token, Volume, matches_tags};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is kept of a snapshot, as `snapshot.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    snapshot: Snapshot,
    token: Token,
}

#[derive(Debug)]
pub(super) struct Table {
    dir: PathBuf,
    max: usize,
    records: Mutex<BTreeMap<String, Record>>,
}

impl Table {
    pub(super) fn load(options: &Options) -> Result<Self> {
        let dir = options.state_dir.join("snapshots");
        let records = load_all::<Record>(&dir, "snapshot.json")?;
        Ok(Self {
            dir,
            max: options.max_volumes,
            records: Mutex::new(
                records
                    .into_iter()
                    .map(|(_, r)| (r.snapshot.id.clone(), r))
                    .collect(),
            ),
        })
    }

    fn find(&self, id: &str) -> Result<Snapshot> {
        let records = self.records.lock();
        let known = records.get(id).map(|r| r.snapshot.clone());
        known.ok_or_else(|| CloudError::NotFound(format!("snapshot {id}")))
    }

    /// What was begun with this token. `Invalid` if that was something else.
    fn begun(&self, volume: &str, tags: &Tags, token: &Token) -> Result<Option<Record>> {
        let records = self.records.lock();
        let known = records.values().find(|r| r.token == *token);
        if known.is_some_and(|r| r.snapshot.volume != volume || r.snapshot.tags != *tags) {
            return Err(CloudError::Invalid(
                "the token was used for another snapshot".into(),
            ));
        }
        Ok(known.cloned())
    }

    /// The finished snapshot that was taken with this token; its volume may be gone by now.
    pub(super) fn taken(&self, volume: &str, tags: &Tags, token: &Token) -> Result<Option<Snapshot>> {
        let begun = self.begun(volume, tags, token)?;
        Ok(begun.map(|r| r.snapshot).filter(|s| s.ready))
    }

    /// Whether a volume of `size` bytes can begin with this snapshot.
    pub(super) fn check_fits(&self, id: &str, size: u64) -> Result<()> {
        let snapshot = self.find(id)?;
        if size < snapshot.size {
            return Err(CloudError::Invalid(format!(
                "snapshot {id} has {} bytes, the volume {size}",
                snapshot.size
            )));
        }
        Ok(())
    }

    /// The snapshot's content. `NotReady` before it is there.
    pub(super) fn disk(&self, id: &str) -> Result<PathBuf> {
        if !self.find(id)?.ready {
            return Err(CloudError::NotReady(format!(
                "snapshot {id} is still being taken"
            )));
        }
        Ok(self.dir.join(id).join("disk"))
    }

    pub(super) fn list(&self, tags: &Tags) -> Vec<Snapshot> {
        let records = self.records.lock();
        let all = records.values().map(|r| r.snapshot.clone());
        all.filter(|s| matches_tags(&s.tags, tags)).collect()
    }

    /// Takes a snapshot of a volume, or goes on with one that a program that died began. The caller holds the volume's lock.
    pub(super) async fn take(
        &self,
        volume: &Volume,
        source: &Path,
        in_use: bool,
        tags: &Tags,
        token: &Token,
    ) -> Result<Snapshot> {
        let mut record = match self.begun(&volume.id, tags, token)? {
            Some(begun) => begun,
            None => self.reserve(volume, tags, token)?,
        };
        let dir = self.dir.join(&record.snapshot.id);
        let copied = if in_use {
            disk::copy_at_once(source, &dir.join("disk")).await
        } else {
            disk::make(&dir.join("disk"), volume.size, Some(source.to_owned())).await
        };
        if copied.is_err() {
            self.delete(&record.snapshot.id).await?;
        }
        copied?;
        record.snapshot.ready = true;
        // A volume may have grown since the record was made.
        record.snapshot.size = volume.size;
        save(&dir.join("snapshot.json"), &record)?;
        let snapshot = record.snapshot.clone();
        self.records.lock().insert(snapshot.id.clone(), record);
        Ok(snapshot)
    }

    fn reserve(&self, volume: &Volume, tags: &Tags, token: &Token) -> Result<Record> {
        let mut records = self.records.lock();
        if records.len() >= self.max {
            return Err(CloudError::QuotaExceeded(format!(
                "{} snapshots on this host",
                self.max
            )));
        }
        let record = Record {
            snapshot: Snapshot {
                id: format!("snap-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]),
                volume: volume.id.clone(),
                size: volume.size,
                ready: false,
                tags: tags.clone(),
            },
            token: token.clone(),
        };
        let dir = self.dir.join(&record.snapshot.id);
        fs::create_dir_all(&dir).map_err(io_error(format!("create {}", dir.display())))?;
        save(&dir.join("snapshot.json"), &record)?;
        records.insert(record.snapshot.id.clone(), record.clone());
        Ok(record)
    }

    pub(super) async fn delete(&self, id: &str) -> Result<()> {
        self.find(id)?;
        disk::discard(&self.dir.join(id), "snapshot.json").await?;
        self.records.lock().remove(id);
        Ok(())
    }
}
