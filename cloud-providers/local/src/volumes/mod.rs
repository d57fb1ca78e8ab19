//! Volumes: images of disks on the host's filesystem, which machines see through loop devices.
//!
//! A volume is a directory with its record and a sparse file. Attached, the file has a loop device on the host, and the
//! machine a device node for it, `/dev/<volume id>`. What must stay true:
//! - **Intent before effect.** The record says where a volume is attached before a device exists, and until it no longer does.
//!   Every step can be repeated, so whoever finds a record carries on from any point where a program died.
//! - **A loop device lives only while its machine runs.** Starting a machine makes those of its volumes, ending it takes them
//!   away, so nothing of the host is held by a machine that is down.
//! - **Nobody takes a volume from a machine that has it mounted.** It would write on while another one reads.
//!
//! Volumes are thin: space is taken as it is written to, and a single volume is never larger than what was free when it was
//! made. Rejected: device mapper (a pool to be set up on the host first, for one thing more: snapshots of volumes in use),
//! network block devices (a process for each that must outlive this program), directories (a volume has a size, a
//! filesystem of the user's choice, and can be raw).

mod disk;
mod node;
mod snapshots;

use crate::instances::Machine;
use crate::machine::Device;
use crate::records::{io_error, load_all, save};
use crate::{LocalCloud, Options};
use async_trait::async_trait;
use cloud_api::{
    CloudError, Result, Snapshot, Tags, Token, Volume, VolumeSpec, VolumeState, Volumes, matches_tags,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// Sizes are whole multiples of this, in bytes.
const GRANULE: u64 = 1 << 20;

/// What is kept of a volume, as `volume.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    id: String,
    spec: VolumeSpec,
    /// In bytes; what was asked for, rounded up, or what it was resized to.
    size: u64,
    /// The machine that it is attached to.
    instance: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Table {
    dir: PathBuf,
    volumes: Mutex<BTreeMap<String, Arc<Entry>>>,
    snapshots: snapshots::Table,
}

#[derive(Debug)]
struct Entry {
    dir: PathBuf,
    record: Mutex<Record>,
    /// Held while the volume is changed; taken before a machine's own lock.
    work: tokio::sync::Mutex<()>,
}

impl Entry {
    fn new(dir: PathBuf, record: Record) -> Self {
        Self {
            dir,
            record: Mutex::new(record),
            work: tokio::sync::Mutex::new(()),
        }
    }

    fn disk(&self) -> PathBuf {
        self.dir.join("disk")
    }

    fn record(&self) -> Record {
        self.record.lock().clone()
    }

    /// Changes the record, on disk first.
    fn update(&self, change: impl FnOnce(&mut Record)) -> Result<Record> {
        let mut record = self.record.lock();
        let mut new = record.clone();
        change(&mut new);
        save(&self.dir.join("volume.json"), &new)?;
        *record = new.clone();
        Ok(new)
    }
}

impl Record {
    fn view(&self) -> Volume {
        let state = match &self.instance {
            Some(instance) => VolumeState::Attached {
                instance: instance.clone(),
                device: node::path(&self.id),
            },
            None => VolumeState::Available,
        };
        Volume {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            zone: self.spec.zone.clone(),
            size: self.size,
            state,
            tags: self.spec.tags.clone(),
        }
    }
}

impl Table {
    pub(crate) fn load(options: &Options) -> Result<Self> {
        let dir = options.state_dir.join("volumes");
        let mut volumes = BTreeMap::new();
        for (dir, record) in load_all::<Record>(&dir, "volume.json")? {
            volumes.insert(record.id.clone(), Arc::new(Entry::new(dir, record)));
        }
        Ok(Self {
            dir,
            volumes: Mutex::new(volumes),
            snapshots: snapshots::Table::load(options)?,
        })
    }

    fn find(&self, id: &str) -> Result<Arc<Entry>> {
        self.volumes
            .lock()
            .get(id)
            .cloned()
            .ok_or_else(|| CloudError::NotFound(format!("volume {id}")))
    }

    fn attached_to(&self, instance: &str) -> Vec<Arc<Entry>> {
        let volumes = self.volumes.lock();
        let here = |entry: &&Arc<Entry>| entry.record.lock().instance.as_deref() == Some(instance);
        volumes.values().filter(here).cloned().collect()
    }
}

fn round_up(size: u64) -> Result<u64> {
    if size < GRANULE {
        return Err(CloudError::Invalid(format!(
            "a volume has at least {GRANULE} bytes, not {size}"
        )));
    }
    size.checked_next_multiple_of(GRANULE)
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| CloudError::Invalid(format!("no volume has {size} bytes")))
}

impl LocalCloud {
    /// The devices of the volumes that are attached to a machine, made if need be. The caller holds the machine's lock.
    pub(crate) async fn plug_all(&self, instance: &str) -> Result<Vec<Device>> {
        let mut devices = Vec::new();
        for entry in self.0.volumes.attached_to(instance) {
            let number = disk::plug(&entry.disk()).await?;
            devices.push(node::device(&entry.record().id, number));
        }
        Ok(devices)
    }

    /// Takes the devices of a machine's volumes away; they stay attached. The machine does not run, and the caller holds its
    /// lock.
    pub(crate) async fn unplug_all(&self, instance: &str) -> Result<()> {
        for entry in self.0.volumes.attached_to(instance) {
            disk::unplug(&entry.disk()).await?;
        }
        Ok(())
    }

    /// Lets go of the volumes of a machine that has ended for good. The caller holds the machine's lock.
    pub(crate) fn release_all(&self, instance: &str) -> Result<()> {
        for entry in self.0.volumes.attached_to(instance) {
            entry.update(|record| record.instance = None)?;
        }
        Ok(())
    }

    /// The volume for this token, new or known; its disk may not be there yet.
    fn reserve_volume(&self, spec: &VolumeSpec) -> Result<Arc<Entry>> {
        let (options, table) = (&self.0.options, &self.0.volumes);
        if !options.zones.contains(&spec.zone) {
            let zones = options.zones.join(", ");
            return Err(CloudError::Invalid(format!(
                "no zone {:?}; there are {zones}",
                spec.zone
            )));
        }
        let size = round_up(spec.size)?;
        let mut volumes = table.volumes.lock();
        if let Some(known) = volumes
            .values()
            .find(|v| v.record.lock().spec.token == spec.token)
        {
            if known.record.lock().spec == *spec {
                return Ok(known.clone());
            }
            return Err(CloudError::Invalid(
                "the token was used with another specification".into(),
            ));
        }
        if let Some(snapshot) = &spec.snapshot {
            table.snapshots.check_fits(snapshot, size)?;
        }
        if volumes.len() >= options.max_volumes {
            return Err(CloudError::QuotaExceeded(format!(
                "{} volumes on this host",
                options.max_volumes
            )));
        }
        disk::check_room(&table.dir, size)?;
        let id = format!("vol-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let record = Record {
            id: id.clone(),
            spec: spec.clone(),
            size,
            instance: None,
        };
        let dir = table.dir.join(&id);
        fs::create_dir_all(&dir).map_err(io_error(format!("create {}", dir.display())))?;
        save(&dir.join("volume.json"), &record)?;
        let entry = Arc::new(Entry::new(dir, record));
        volumes.insert(id, entry.clone());
        Ok(entry)
    }

    fn machine_of(&self, volume: &Record, instance: &str) -> Result<Arc<Machine>> {
        let machine = self.0.machines.find(instance)?;
        let zone = machine.zone();
        if zone != volume.spec.zone {
            return Err(CloudError::Invalid(format!(
                "volume {} is in zone {}, instance {instance} in {zone}",
                volume.id, volume.spec.zone
            )));
        }
        Ok(machine)
    }
}

#[async_trait]
impl Volumes for LocalCloud {
    /// Answers when its disk is there: at once for an empty one, after the copy for one with a snapshot's content.
    async fn create(&self, spec: &VolumeSpec) -> Result<Volume> {
        let entry = self.reserve_volume(spec)?;
        let _working = entry.work.lock().await;
        let record = entry.record();
        if !entry.disk().exists() {
            let source = match &spec.snapshot {
                Some(snapshot) => Some(self.0.volumes.snapshots.disk(snapshot)?),
                None => None,
            };
            disk::make(&entry.disk(), record.size, source).await?;
        }
        Ok(record.view())
    }

    async fn get(&self, id: &str) -> Result<Volume> {
        Ok(self.0.volumes.find(id)?.record.lock().view())
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Volume>> {
        let volumes = self.0.volumes.volumes.lock();
        let all = volumes.values().map(|v| v.record.lock().view());
        Ok(all.filter(|v| matches_tags(&v.tags, tags)).collect())
    }

    /// A machine that does not run gets the device when it starts.
    async fn attach(&self, id: &str, instance: &str) -> Result<String> {
        let entry = self.0.volumes.find(id)?;
        let _working = entry.work.lock().await;
        let record = entry.record();
        let machine = self.machine_of(&record, instance)?;
        let _machine = machine.work.lock().await;
        if machine.is_terminating() {
            return Err(CloudError::NotFound(format!(
                "instance {instance} is terminating"
            )));
        }
        match &record.instance {
            Some(other) if other != instance => {
                return Err(CloudError::NotReady(format!(
                    "volume {id} is attached to {other}"
                )));
            }
            Some(_) => {}
            None => {
                // What has no disk must not be attached: its machine could not start again.
                disk::check_made(&entry.disk())?;
                entry.update(|record| record.instance = Some(instance.to_owned()))?;
            }
        }
        if let Some(pid) = self.0.machines.running(instance) {
            let number = disk::plug(&entry.disk()).await?;
            node::add(pid, instance, &node::device(id, number)).await?;
        }
        Ok(node::path(id))
    }

    /// `NotReady` while the machine has it mounted or open for itself alone.
    async fn detach(&self, id: &str, instance: &str) -> Result<()> {
        let entry = self.0.volumes.find(id)?;
        let _working = entry.work.lock().await;
        if entry.record().instance.as_deref() != Some(instance) {
            return Ok(());
        }
        // The records of both are loaded together, and a machine lets go of its volumes before it is forgotten.
        let machine = self.0.machines.find(instance)?;
        let _machine = machine.work.lock().await;
        if disk::is_held(&entry.disk()).await? {
            return Err(CloudError::NotReady(format!(
                "instance {instance} uses volume {id}"
            )));
        }
        if let Some(pid) = self.0.machines.running(instance) {
            node::remove(pid, instance, id).await?;
        }
        disk::unplug(&entry.disk()).await?;
        entry.update(|record| record.instance = None).map(drop)
    }

    async fn resize(&self, id: &str, size: u64) -> Result<Volume> {
        let entry = self.0.volumes.find(id)?;
        let _working = entry.work.lock().await;
        let (known, size) = (entry.record(), round_up(size)?);
        if size < known.size {
            return Err(CloudError::Invalid(format!(
                "volume {id} has {} bytes and never shrinks",
                known.size
            )));
        }
        disk::check_room(&entry.dir, size - known.size)?;
        disk::grow(&entry.disk(), size).await?;
        Ok(entry.update(|record| record.size = size)?.view())
    }

    async fn delete(&self, id: &str) -> Result<()> {
        let entry = self.0.volumes.find(id)?;
        let _working = entry.work.lock().await;
        if let Some(instance) = &entry.record().instance {
            return Err(CloudError::NotReady(format!(
                "volume {id} is attached to {instance}"
            )));
        }
        disk::discard(&entry.dir, "volume.json").await?;
        self.0.volumes.volumes.lock().remove(id);
        Ok(())
    }

    /// `NotReady` for a volume that is attached, unless the host's filesystem can copy a file in one moment (XFS, btrfs).
    async fn snapshot(&self, id: &str, tags: &Tags, token: &Token) -> Result<Snapshot> {
        let snapshots = &self.0.volumes.snapshots;
        if let Some(known) = snapshots.taken(id, tags, token)? {
            return Ok(known);
        }
        let entry = self.0.volumes.find(id)?;
        let _working = entry.work.lock().await;
        let record = entry.record();
        let attached = record.instance.is_some();
        snapshots
            .take(&record.view(), &entry.disk(), attached, tags, token)
            .await
    }

    async fn snapshots(&self, tags: &Tags) -> Result<Vec<Snapshot>> {
        Ok(self.0.volumes.snapshots.list(tags))
    }

    async fn delete_snapshot(&self, id: &str) -> Result<()> {
        self.0.volumes.snapshots.delete(id).await
    }
}
