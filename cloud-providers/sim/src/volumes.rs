//! Volumes and snapshots that are records.

use crate::{Operation, SimCloud, State};
use async_trait::async_trait;
use cloud_api::{
    CloudError, Result, Snapshot, Tags, Token, Volume, VolumeSpec, VolumeState, Volumes, matches_tags,
};
use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
pub(crate) struct Table {
    volumes: BTreeMap<String, Volume>,
    snapshots: BTreeMap<String, Snapshot>,
    tokens: HashMap<Token, String>,
}

impl Table {
    fn volume(&mut self, id: &str) -> Result<&mut Volume> {
        self.volumes
            .get_mut(id)
            .ok_or_else(|| CloudError::NotFound(format!("volume {id}")))
    }

    /// A machine that goes lets go of its volumes.
    pub(crate) fn detach_all(&mut self, instance: &str) {
        for volume in self.volumes.values_mut() {
            if matches!(&volume.state, VolumeState::Attached { instance: i, .. } if i == instance) {
                volume.state = VolumeState::Available;
            }
        }
    }
}

fn create(state: &mut State, zones: &[String], spec: &VolumeSpec) -> Result<Volume> {
    if !zones.contains(&spec.zone) || spec.size < 1 << 20 {
        return Err(CloudError::Invalid(format!(
            "{} bytes in zone {:?}",
            spec.size, spec.zone
        )));
    }
    if let Some(known) = state
        .volumes
        .tokens
        .get(&spec.token)
        .and_then(|id| state.volumes.volumes.get(id))
    {
        return Ok(known.clone());
    }
    if let Some(id) = &spec.snapshot {
        let snapshot = state
            .volumes
            .snapshots
            .get(id)
            .ok_or_else(|| CloudError::NotFound(format!("snapshot {id}")))?;
        if spec.size < snapshot.size {
            return Err(CloudError::Invalid(format!(
                "the snapshot has {} bytes",
                snapshot.size
            )));
        }
    }
    let volume = Volume {
        id: state.id("vol"),
        name: spec.name.clone(),
        zone: spec.zone.clone(),
        size: spec.size,
        state: VolumeState::Available,
        tags: spec.tags.clone(),
    };
    state.volumes.tokens.insert(spec.token.clone(), volume.id.clone());
    state.volumes.volumes.insert(volume.id.clone(), volume.clone());
    Ok(volume)
}

#[async_trait]
impl Volumes for SimCloud {
    async fn create(&self, spec: &VolumeSpec) -> Result<Volume> {
        self.call(Operation::ChangeVolume, |state, options| {
            create(state, &options.zones, spec)
        })
        .await
    }

    async fn get(&self, id: &str) -> Result<Volume> {
        self.call(Operation::ReadVolume, |state, _| {
            state.volumes.volume(id).cloned()
        })
        .await
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Volume>> {
        self.call(Operation::ReadVolume, |state, _| {
            Ok(state
                .volumes
                .volumes
                .values()
                .filter(|v| matches_tags(&v.tags, tags))
                .cloned()
                .collect())
        })
        .await
    }

    async fn attach(&self, id: &str, instance: &str) -> Result<String> {
        self.call(Operation::ChangeVolume, |state, _| {
            let zone = state.instances.zone_of(instance)?;
            let volume = state.volumes.volume(id)?;
            if volume.zone != zone {
                return Err(CloudError::Invalid(format!(
                    "volume in zone {}, instance in zone {zone}",
                    volume.zone
                )));
            }
            match &volume.state {
                VolumeState::Attached { instance: i, device } if i == instance => Ok(device.clone()),
                VolumeState::Attached { instance, .. } => Err(CloudError::NotReady(format!(
                    "volume {id} is attached to {instance}"
                ))),
                VolumeState::Available => {
                    let device = format!("/dev/{id}");
                    volume.state = VolumeState::Attached {
                        instance: instance.into(),
                        device: device.clone(),
                    };
                    Ok(device)
                }
            }
        })
        .await
    }

    async fn detach(&self, id: &str, instance: &str) -> Result<()> {
        self.call(Operation::ChangeVolume, |state, _| {
            let volume = state.volumes.volume(id)?;
            if matches!(&volume.state, VolumeState::Attached { instance: i, .. } if i == instance) {
                volume.state = VolumeState::Available;
            }
            Ok(())
        })
        .await
    }

    async fn resize(&self, id: &str, size: u64) -> Result<Volume> {
        self.call(Operation::ChangeVolume, |state, _| {
            let volume = state.volumes.volume(id)?;
            if size < volume.size {
                return Err(CloudError::Invalid(format!(
                    "volume {id} has {} bytes and never shrinks",
                    volume.size
                )));
            }
            volume.size = size;
            Ok(volume.clone())
        })
        .await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.call(Operation::ChangeVolume, |state, _| {
            let volume = state.volumes.volume(id)?;
            if let VolumeState::Attached { instance, .. } = &volume.state {
                return Err(CloudError::NotReady(format!(
                    "volume {id} is attached to {instance}"
                )));
            }
            state.volumes.volumes.remove(id);
            state.volumes.tokens.retain(|_, v| v != id);
            Ok(())
        })
        .await
    }

    async fn snapshot(&self, id: &str, tags: &Tags, token: &Token) -> Result<Snapshot> {
        self.call(Operation::ChangeVolume, |state, _| {
            if let Some(known) = state
                .volumes
                .tokens
                .get(token)
                .and_then(|s| state.volumes.snapshots.get(s))
            {
                return Ok(known.clone());
            }
            let size = state.volumes.volume(id)?.size;
            let made = Snapshot {
                id: state.id("snap"),
                volume: id.to_owned(),
                size,
                ready: true,
                tags: tags.clone(),
            };
            state.volumes.tokens.insert(token.clone(), made.id.clone());
            state.volumes.snapshots.insert(made.id.clone(), made.clone());
            Ok(made)
        })
        .await
    }

    async fn snapshots(&self, tags: &Tags) -> Result<Vec<Snapshot>> {
        self.call(Operation::ReadVolume, |state, _| {
            Ok(state
                .volumes
                .snapshots
                .values()
                .filter(|s| matches_tags(&s.tags, tags))
                .cloned()
                .collect())
        })
        .await
    }

    async fn delete_snapshot(&self, id: &str) -> Result<()> {
        self.call(Operation::ChangeVolume, |state, _| {
            state.volumes.tokens.retain(|_, s| s != id);
            state
                .volumes
                .snapshots
                .remove(id)
                .map(drop)
                .ok_or_else(|| CloudError::NotFound(format!("snapshot {id}")))
        })
        .await
    }
}
