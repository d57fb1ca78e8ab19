//! Machines that are records.

use crate::{Operation, Options, SimCloud, State};
use async_trait::async_trait;
use cloud_api::{
    CloudError, Instance, InstanceSpec, InstanceState, InstanceType, Instances, Result, Tags, Token,
    matches_tags,
};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Table {
    records: BTreeMap<String, Record>,
    tokens: HashMap<Token, String>,
}

#[derive(Debug)]
struct Record {
    spec: InstanceSpec,
    address: IpAddr,
    running_at: Instant,
    crashed: bool,
    gone_at: Option<Instant>,
}

impl Table {
    /// Forgets what is gone by now.
    fn settle(&mut self) {
        let now = Instant::now();
        let tokens = &mut self.tokens;
        self.records.retain(|_, r| {
            let keep = r.gone_at.is_none_or(|at| at > now);
            if !keep {
                tokens.remove(&r.spec.token);
            }
            keep
        });
    }

    fn view(&self, id: &str) -> Result<Instance> {
        let record = self
            .records
            .get(id)
            .ok_or_else(|| CloudError::NotFound(format!("instance {id}")))?;
        let state = match record {
            Record { gone_at: Some(_), .. } => InstanceState::Terminating,
            Record { crashed: true, .. } => InstanceState::Stopped,
            Record { running_at, .. } if *running_at > Instant::now() => InstanceState::Pending,
            _ => InstanceState::Running,
        };
        Ok(Instance {
            id: id.to_owned(),
            name: record.spec.name.clone(),
            zone: record.spec.zone.clone(),
            instance_type: record.spec.instance_type.clone(),
            image: record.spec.image.clone(),
            state,
            address: Some(record.address),
            provider_id: format!("sim:///{}/{id}", record.spec.zone),
            tags: record.spec.tags.clone(),
        })
    }

    /// The zone of a machine that can have volumes attached.
    pub(crate) fn zone_of(&self, id: &str) -> Result<String> {
        let view = self.view(id)?;
        match view.state {
            InstanceState::Terminating => Err(CloudError::NotFound(format!("instance {id}"))),
            _ => Ok(view.zone),
        }
    }

    pub(crate) fn crash(&mut self, id: &str) -> Result<()> {
        self.live(id)?.crashed = true;
        Ok(())
    }

    fn live(&mut self, id: &str) -> Result<&mut Record> {
        self.settle();
        self.records
            .get_mut(id)
            .ok_or_else(|| CloudError::NotFound(format!("instance {id}")))
    }

    pub(crate) fn look(&mut self, id: &str) -> Result<Instance> {
        self.settle();
        self.view(id)
    }
}

fn create(state: &mut State, options: &Options, spec: &InstanceSpec) -> Result<Instance> {
    spec.validate(&options.zones, &options.types)?;
    state.instances.settle();
    if let Some(id) = state.instances.tokens.get(&spec.token) {
        if state.instances.records[id].spec != *spec {
            return Err(CloudError::Invalid(
                "the token was used with another specification".into(),
            ));
        }
        return state.instances.view(id);
    }
    if state.instances.records.len() >= options.quota {
        return Err(CloudError::QuotaExceeded(format!("{} instances", options.quota)));
    }
    if state
        .instances
        .records
        .values()
        .filter(|r| r.spec.zone == spec.zone)
        .count()
        >= options.zone_capacity
    {
        return Err(CloudError::InsufficientCapacity(format!("zone {}", spec.zone)));
    }
    let id = state.id("i");
    let host = 0x0a00_0000 | u32::try_from(state.next_id & 0x00ff_ffff).unwrap_or(0);
    let record = Record {
        spec: spec.clone(),
        address: Ipv4Addr::from(host).into(),
        running_at: Instant::now() + options.boot_time,
        crashed: false,
        gone_at: None,
    };
    state.instances.tokens.insert(spec.token.clone(), id.clone());
    state.instances.records.insert(id.clone(), record);
    state.instances.view(&id)
}

#[async_trait]
impl Instances for SimCloud {
    fn types(&self) -> Vec<InstanceType> {
        self.0.options.types.clone()
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<Instance> {
        self.call(Operation::CreateInstance, |state, options| {
            create(state, options, spec)
        })
        .await
    }

    async fn get(&self, id: &str) -> Result<Instance> {
        self.call(Operation::ReadInstance, |state, _| state.instances.look(id))
            .await
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Instance>> {
        self.call(Operation::ReadInstance, |state, _| {
            state.instances.settle();
            let table = &state.instances;
            table
                .records
                .iter()
                .filter(|(_, r)| matches_tags(&r.spec.tags, tags))
                .map(|(id, _)| table.view(id))
                .collect()
        })
        .await
    }

    async fn terminate(&self, id: &str) -> Result<()> {
        self.call(Operation::TerminateInstance, |state, options| {
            let record = state.instances.live(id)?;
            record
                .gone_at
                .get_or_insert(Instant::now() + options.termination_time);
            state.volumes.detach_all(id);
            Ok(())
        })
        .await
    }

    async fn reboot(&self, id: &str) -> Result<()> {
        self.call(Operation::RebootInstance, |state, options| {
            let record = state.instances.live(id)?;
            record.crashed = false;
            record.running_at = Instant::now() + options.boot_time;
            Ok(())
        })
        .await
    }

    async fn console(&self, id: &str) -> Result<Vec<u8>> {
        self.call(Operation::ReadInstance, |state, _| {
            let instance = state.instances.look(id)?;
            Ok(format!("{} is simulated; it has no console\n", instance.name).into_bytes())
        })
        .await
    }
}
