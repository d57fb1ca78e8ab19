//! Machines: their records on disk, and starting, finding again and ending them.
//!
//! The order is intent before effect: the record is on disk before the first process exists, and the directory goes last, so
//! that a program that dies anywhere in between is continued by the next one. Calls for one machine are serialised by its
//! own lock; different machines proceed side by side.

use crate::machine::{Config, Files, Metadata};
use crate::records::{io_error, load, load_all, save};
use crate::{LocalCloud, Options, cgroups, image, network};
use async_trait::async_trait;
use cloud_api::{
    CloudError, Instance, InstanceSpec, InstanceState, InstanceType, Instances, Result, Tags, matches_tags,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The part of the console that is shown.
const CONSOLE_SHOWN: u64 = 64 << 10;
/// How long `terminate` waits for the kernel to end the machine's processes before it answers that it goes on.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What is kept of a machine, as `machine.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    id: String,
    spec: InstanceSpec,
    address: Ipv4Addr,
    layers: Vec<PathBuf>,
    identity_document: String,
    terminating: bool,
}

/// Which process is the machine's init, as `run.json`. A process id alone may be reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    pid: i32,
    start_time: u64,
    boot_id: String,
}

#[derive(Debug)]
pub(crate) struct Table {
    dir: PathBuf,
    machines: Mutex<BTreeMap<String, Arc<Machine>>>,
}

#[derive(Debug)]
pub(crate) struct Machine {
    record: Mutex<Record>,
    /// Held while the machine is started or ended, or a volume is attached or detached.
    pub(crate) work: tokio::sync::Mutex<()>,
}

impl Machine {
    fn new(record: Record) -> Self {
        Self {
            record: Mutex::new(record),
            work: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn zone(&self) -> String {
        self.record.lock().spec.zone.clone()
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.record.lock().terminating
    }
}

impl Table {
    pub(crate) fn load(options: &Options) -> Result<Self> {
        let dir = options.state_dir.join("machines");
        let mut machines = BTreeMap::new();
        for (_, record) in load_all::<Record>(&dir, "machine.json")? {
            machines.insert(record.id.clone(), Arc::new(Machine::new(record)));
        }
        Ok(Self {
            dir,
            machines: Mutex::new(machines),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.machines.lock().is_empty()
    }

    pub(crate) fn find(&self, id: &str) -> Result<Arc<Machine>> {
        self.machines
            .lock()
            .get(id)
            .cloned()
            .ok_or_else(|| CloudError::NotFound(format!("instance {id}")))
    }

    fn dir_of(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// The process id of a machine's init, if it runs.
    pub(crate) fn running(&self, id: &str) -> Option<i32> {
        running(&self.dir_of(id))
    }

    /// The machine whose identity document this is.
    pub(crate) fn by_document(&self, document: &[u8]) -> Option<(String, InstanceSpec)> {
        let machines = self.machines.lock();
        machines.values().find_map(|m| {
            let record = m.record.lock();
            let same = constant_time_eq(record.identity_document.as_bytes(), document);
            (same && !record.terminating).then(|| (record.id.clone(), record.spec.clone()))
        })
    }

    /// Whether any machine was made from this image directory.
    pub(crate) fn uses_layer(&self, layer: &Path) -> bool {
        self.machines
            .lock()
            .values()
            .any(|m| m.record.lock().layers.iter().any(|l| l.starts_with(layer)))
    }

    fn view(&self, record: &Record) -> Instance {
        let dir = self.dir_of(&record.id);
        let state = if record.terminating {
            InstanceState::Terminating
        } else if running(&dir).is_some() {
            InstanceState::Running
        } else if dir.join("run.json").exists() {
            InstanceState::Stopped
        } else {
            InstanceState::Pending
        };
        Instance {
            id: record.id.clone(),
            name: record.spec.name.clone(),
            zone: record.spec.zone.clone(),
            instance_type: record.spec.instance_type.clone(),
            image: record.spec.image.clone(),
            state,
            address: Some(record.address.into()),
            provider_id: provider_id(record),
            tags: record.spec.tags.clone(),
        }
    }
}

fn provider_id(record: &Record) -> String {
    format!("local:///{}/{}", record.spec.zone, record.id)
}

/// Compares without telling by its duration where the difference is.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// Field 22 of /proc/<pid>/stat, and not a zombie: proc_pid_stat(5).
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn running(dir: &Path) -> Option<i32> {
    let known: Running = load(&dir.join("run.json")).ok()??;
    (known.boot_id == boot_id() && start_time(known.pid) == Some(known.start_time)).then_some(known.pid)
}

impl LocalCloud {
    fn reserve(&self, spec: &InstanceSpec) -> Result<Arc<Machine>> {
        let inner = &self.0;
        spec.validate(&inner.options.zones, &inner.options.types)?;
        let layers = image::layers(&inner.options, &spec.image)?;
        let mut machines = inner.machines.machines.lock();
        if let Some(known) = machines
            .values()
            .find(|m| m.record.lock().spec.token == spec.token)
        {
            let mut record = known.record.lock();
            let dir = inner.machines.dir_of(&record.id);
            // A machine that never ran has told nobody its user data, which has new keys in it each time.
            if record.spec != *spec && !dir.join("run.json").exists() {
                record.spec.user_data.clone_from(&spec.user_data);
                save(&dir.join("machine.json"), &*record)?;
            }
            if record.spec != *spec {
                return Err(CloudError::Invalid(
                    "the token was used with another specification".into(),
                ));
            }
            drop(record);
            return Ok(known.clone());
        }
        if machines.len() >= inner.options.max_machines {
            return Err(CloudError::QuotaExceeded(format!(
                "{} machines on this host",
                inner.options.max_machines
            )));
        }
        let address = network::free_address(&inner.options, 10..0x8000, |a| {
            machines.values().any(|m| m.record.lock().address == a)
        })
        .ok_or_else(|| CloudError::InsufficientCapacity("no address is free".into()))?;
        let secret = uuid::Uuid::new_v4().simple();
        let id = format!("i-{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
        let record = Record {
            identity_document: format!("{id}.{secret}"),
            id: id.clone(),
            spec: spec.clone(),
            address,
            layers,
            terminating: false,
        };
        let dir = inner.machines.dir_of(&id);
        fs::create_dir_all(&dir).map_err(io_error(format!("create {}", dir.display())))?;
        save(&dir.join("machine.json"), &record)?;
        let machine = Arc::new(Machine::new(record));
        machines.insert(id, machine.clone());
        Ok(machine)
    }

    /// Starts a machine that is not running. The caller holds its lock.
    async fn start(&self, record: &Record) -> Result<()> {
        let (options, dir) = (&self.0.options, self.0.machines.dir_of(&record.id));
        if running(&dir).is_some() {
            return Ok(());
        }
        let kind = options
            .types
            .iter()
            .find(|t| t.name == record.spec.instance_type)
            .ok_or_else(|| CloudError::Invalid(format!("no instance type {}", record.spec.instance_type)))?;
        let config = Config {
            metadata: Metadata {
                id: record.id.clone(),
                name: record.spec.name.clone(),
                provider: "local".into(),
                provider_id: provider_id(record),
                zone: record.spec.zone.clone(),
                instance_type: record.spec.instance_type.clone(),
                address: record.address,
                gateway: options.gateway(),
                milli_cpu: kind.milli_cpu,
                memory: kind.memory,
                max_pods: kind.max_pods,
                tags: record.spec.tags.clone(),
                identity_document: record.identity_document.clone(),
                registry: options.registry.clone(),
            },
            cloud: options.name.clone(),
            layers: record.layers.clone(),
            volumes: self.plug_all(&record.id).await?,
        };
        let files = Files(&dir);
        save(&files.config(), &config)?;
        fs::write(files.user_data(), &record.spec.user_data).map_err(io_error("write user data"))?;
        network::ensure(options).await?;

        let (program, args) = options
            .launcher
            .split_first()
            .ok_or_else(|| CloudError::Invalid("no launcher is set".into()))?;
        let mut args = args.to_vec();
        args.extend(["launch".into(), dir.clone().into_os_string()]);
        let program = program
            .to_str()
            .ok_or_else(|| CloudError::Invalid("the launcher is no text".into()))?;
        let printed = crate::command::run(program, &args, "").await?;
        let pid: i32 = printed
            .trim()
            .parse()
            .map_err(|_| CloudError::Other(format!("the launcher printed {printed:?}")))?;
        let start_time = start_time(pid).ok_or_else(|| {
            CloudError::Other(format!(
                "the machine's init ended at once; see {}",
                files.console().display()
            ))
        })?;
        save(
            &dir.join("run.json"),
            &Running {
                pid,
                start_time,
                boot_id: boot_id(),
            },
        )?;
        network::attach(options, &record.id, record.address, pid).await
    }

    /// Kills a machine's init, which ends everything in it, waits until that is so, and removes its control groups (a v2 group
    /// that once passed controllers down takes no process any more) and its volumes' devices.
    async fn stop(&self, id: &str) -> Result<()> {
        let dir = &self.0.machines.dir_of(id);
        let deadline = tokio::time::Instant::now() + END_PATIENCE;
        while let Some(pid) = running(dir) {
            match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL) {
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(error) => return Err(CloudError::Other(format!("cannot end process {pid}: {error}"))),
            }
            if tokio::time::Instant::now() > deadline {
                return Err(CloudError::NotReady(format!("process {pid} is still ending")));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let hierarchies = cgroups::hierarchies().map_err(io_error("read mountinfo"))?;
        while !cgroups::remove(&hierarchies, &self.0.options.name, id) {
            if tokio::time::Instant::now() > deadline {
                return Err(CloudError::NotReady(format!(
                    "processes of {id} are still ending"
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What was mounted in the machine goes a moment after its last process.
        loop {
            match self.unplug_all(id).await {
                Err(CloudError::NotReady(_)) if tokio::time::Instant::now() < deadline => {}
                outcome => return outcome,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(&self, id: &str) -> Result<()> {
        let machine = self.0.machines.find(id)?;
        let _working = machine.work.lock().await;
        let dir = self.0.machines.dir_of(id);
        let record = {
            let mut record = machine.record.lock();
            record.terminating = true;
            record.clone()
        };
        if !dir.exists() {
            return Err(CloudError::NotFound(format!("instance {id}")));
        }
        save(&dir.join("machine.json"), &record)?;
        self.stop(id).await?;
        self.release_all(id)?;
        network::detach(&self.0.options, id).await?;
        let doomed = dir.clone();
        tokio::task::spawn_blocking(move || fs::remove_dir_all(&doomed))
            .await
            .map_err(|e| CloudError::Other(e.to_string()))?
            .map_err(io_error(format!("remove {}", dir.display())))?;
        self.0.machines.machines.lock().remove(id);
        self.remove_network_if_unused().await
    }
}

#[async_trait]
impl Instances for LocalCloud {
    fn types(&self) -> Vec<InstanceType> {
        self.0.options.types.clone()
    }

    /// Answers when the machine's init runs and its network is attached, usually after 50 ms. Being idempotent, it also
    /// starts a machine whose creation was interrupted.
    async fn create(&self, spec: &InstanceSpec) -> Result<Instance> {
        let machine = self.reserve(spec)?;
        let _working = machine.work.lock().await;
        let record = machine.record.lock().clone();
        let never_ran = !self.0.machines.dir_of(&record.id).join("run.json").exists();
        if !record.terminating && never_ran {
            self.start(&record).await?;
        }
        Ok(self.0.machines.view(&record))
    }

    async fn get(&self, id: &str) -> Result<Instance> {
        let machine = self.0.machines.find(id)?;
        let record = machine.record.lock().clone();
        Ok(self.0.machines.view(&record))
    }

    async fn list(&self, tags: &Tags) -> Result<Vec<Instance>> {
        let all: Vec<Record> = self
            .0
            .machines
            .machines
            .lock()
            .values()
            .map(|m| m.record.lock().clone())
            .collect();
        Ok(all
            .iter()
            .filter(|r| matches_tags(&r.spec.tags, tags))
            .map(|r| self.0.machines.view(r))
            .collect())
    }

    async fn terminate(&self, id: &str) -> Result<()> {
        self.end(id).await
    }

    async fn reboot(&self, id: &str) -> Result<()> {
        let machine = self.0.machines.find(id)?;
        let _working = machine.work.lock().await;
        let record = machine.record.lock().clone();
        if record.terminating {
            return Err(CloudError::NotFound(format!("instance {id} is terminating")));
        }
        self.stop(id).await?;
        self.start(&record).await
    }

    async fn console(&self, id: &str) -> Result<Vec<u8>> {
        self.0.machines.find(id)?;
        let dir = self.0.machines.dir_of(id);
        let path = Files(&dir).console();
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = fs::File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_SHOWN)))?;
            let mut text = Vec::new();
            file.take(CONSOLE_SHOWN).read_to_end(&mut text)?;
            Ok(text)
        };
        match read() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(io_error("read the console")),
        }
    }
}
