//! Block volumes and snapshots of them.

use crate::{Result, Tags, Token};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// What volume to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// For people.
    pub name: String,
    /// Where; only instances of this zone can attach it.
    pub zone: String,
    /// Bytes, at least 1 MiB; clouds round up.
    pub size: u64,
    /// Begin with this snapshot's content; the size must be at least the snapshot's.
    pub snapshot: Option<String>,
    /// Whose it is.
    pub tags: Tags,
    /// Repeating a create with this token answers with the same volume.
    pub token: Token,
}

/// Where a volume is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeState {
    /// Usable, attached nowhere.
    Available,
    /// Attached to one instance.
    Attached {
        /// The instance's id.
        instance: String,
        /// The device inside the instance.
        device: String,
    },
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The cloud's own id.
    pub id: String,
    /// The name it was created with.
    pub name: String,
    /// Where it is.
    pub zone: String,
    /// Bytes.
    pub size: u64,
    /// Attached or not.
    pub state: VolumeState,
    /// Whose it is.
    pub tags: Tags,
}

/// A volume's content at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The cloud's own id.
    pub id: String,
    /// The volume it was taken of, which may be gone by now.
    pub volume: String,
    /// The volume's size in bytes.
    pub size: u64,
    /// Whether it can be used already.
    pub ready: bool,
    /// Whose it is.
    pub tags: Tags,
}

/// Block volumes and snapshots of them.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Creates an empty volume, or one with a snapshot's content.
    async fn create(&self, spec: &VolumeSpec) -> Result<Volume>;

    /// One volume. `NotFound` once it is gone.
    async fn get(&self, id: &str) -> Result<Volume>;

    /// All volumes that have every one of these tags, ordered by id.
    async fn list(&self, tags: &Tags) -> Result<Vec<Volume>>;

    /// Attaches it and answers with its device inside the instance. Attaching it where it is attached already answers
    /// the same; elsewhere is `NotReady`; in another zone `Invalid`.
    async fn attach(&self, id: &str, instance: &str) -> Result<String>;

    /// Detaches it. A volume that is not attached to that instance is left as it is, which is success.
    async fn detach(&self, id: &str, instance: &str) -> Result<()>;

    /// Makes it larger; never smaller (`Invalid`).
    async fn resize(&self, id: &str, size: u64) -> Result<Volume>;

    /// Deletes it. `NotReady` while it is attached; `NotFound` means finished.
    async fn delete(&self, id: &str) -> Result<()>;

    /// Takes a snapshot.
    async fn snapshot(&self, id: &str, tags: &Tags, token: &Token) -> Result<Snapshot>;

    /// All snapshots that have every one of these tags, ordered by id.
    async fn snapshots(&self, tags: &Tags) -> Result<Vec<Snapshot>>;

    /// Deletes a snapshot. `NotFound` means finished.
    async fn delete_snapshot(&self, id: &str) -> Result<()>;
}
