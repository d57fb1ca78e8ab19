//! A cloud in memory: deterministic, with scripted latency and faults.
//!
//! It owns no task and no timer. An instance is `Running` when its boot time has passed by tokio's clock, which is worked
//! out when somebody looks, so ten thousand instances cost their records, and a paused runtime boots them in no time.
//! Ids count upwards, so the same calls give the same cloud. What must stay true: every call passes [`SimCloud::call`],
//! or scripted faults and latency would miss it.

mod faults;
mod instances;
mod load_balancers;
mod others;
mod volumes;

pub use faults::{Fault, Operation};

use cloud_api::{Cloud, Identity, Images, InstanceType, Instances, LoadBalancers, Result, Routes, Volumes};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How the simulated cloud behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The zones.
    pub zones: Vec<String>,
    /// The sizes of machines.
    pub types: Vec<InstanceType>,
    /// How long each call takes.
    pub latency: Duration,
    /// How long a machine is `Pending`.
    pub boot_time: Duration,
    /// How long a machine is `Terminating`.
    pub termination_time: Duration,
    /// How many machines fit into one zone.
    pub zone_capacity: usize,
    /// How many machines the account may have.
    pub quota: usize,
}

impl Default for Options {
    fn default() -> Self {
        let size = |name: &str, cores: u64, gib: u64, max_pods| InstanceType {
            name: name.into(),
            milli_cpu: cores * 1000,
            memory: gib << 30,
            max_pods,
        };
        Self {
            zones: ["a", "b", "c"].map(String::from).to_vec(),
            types: vec![
                size("small", 2, 4, 110),
                size("medium", 4, 16, 110),
                size("large", 16, 64, 250),
            ],
            latency: Duration::from_millis(5),
            boot_time: Duration::from_millis(200),
            termination_time: Duration::from_millis(100),
            zone_capacity: 10_000,
            quota: 20_000,
        }
    }
}

/// A cloud in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct SimCloud(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    faults: faults::Script,
    instances: instances::Table,
    load_balancers: load_balancers::Table,
    volumes: volumes::Table,
    others: others::Table,
}

impl State {
    fn id(&mut self, prefix: &str) -> String {
        self.next_id += 1;
        format!("{prefix}-{:08x}", self.next_id)
    }
}

impl SimCloud {
    /// An empty cloud.
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Inner {
            options,
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        }))
    }

    /// Adds a fault to the end of the script.
    pub fn inject(&self, fault: Fault) {
        self.0.state.lock().faults.push(fault);
    }

    /// A number that grows whenever machines are created or terminated: what plays the machines (fake kubelets)
    /// waits for it and lists again.
    pub fn instances_changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Ends a machine as a failing host would: it is `Stopped` until it is rebooted or terminated.
    pub fn crash(&self, id: &str) -> Result<()> {
        self.0.state.lock().instances.crash(id)?;
        self.0.changed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// Waits the scripted time, then either fails as scripted or runs `act` on the state.
    async fn call<T>(
        &self,
        operation: Operation,
        act: impl FnOnce(&mut State, &Options) -> Result<T>,
    ) -> Result<T> {
        let (latency, fault) = self.0.state.lock().faults.next(operation);
        tokio::time::sleep(latency.unwrap_or(self.0.options.latency)).await;
        if let Some((error, false)) = &fault {
            return Err(error.clone());
        }
        let answer = act(&mut self.0.state.lock(), &self.0.options);
        if matches!(
            operation,
            Operation::CreateInstance | Operation::TerminateInstance | Operation::RebootInstance
        ) {
            self.0.changed.send_modify(|n| *n += 1);
        }
        match fault {
            Some((error, _)) => Err(error),
            None => answer,
        }
    }
}

impl Cloud for SimCloud {
    fn name(&self) -> &str {
        "sim"
    }
    fn zones(&self) -> Vec<String> {
        self.0.options.zones.clone()
    }
    fn instances(&self) -> Option<&dyn Instances> {
        Some(self)
    }
    fn load_balancers(&self) -> Option<&dyn LoadBalancers> {
        Some(self)
    }
    fn volumes(&self) -> Option<&dyn Volumes> {
        Some(self)
    }
    fn routes(&self) -> Option<&dyn Routes> {
        Some(self)
    }
    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }
    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }
}
