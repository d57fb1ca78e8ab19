//! The embedded cloud: machines, load balancers and volumes on one Linux host, without an account.
//!
//! A machine is a set of namespaces (pid, mount, network, uts, ipc, cgroup) with an init of its own, whose root is an
//! overlay on the node image's filesystem. What must stay true:
//! - **Machines outlive the program.** All state is on disk under [`Options::state_dir`]; a machine that runs is found again
//!   by its process id, start time and the host's boot id.
//! - **Killing a machine's init frees everything** that the kernel holds for it; only directories and empty cgroups remain, and
//!   `terminate` removes them.
//! - **The host is left alone.** The machines' bridge is in a network namespace of its own, so neither the host's nftables rules
//!   nor its forwarding settings concern them; on the host there is one virtual Ethernet device, which carries the
//!   addresses of the cloud's gateway and of its load balancers.
//!
//! Rejected: containers of a container engine (one more dependency, and its networks write the host's rules), virtual machines
//! (need /dev/kvm; the same image boots in them where it exists), the bridge on the host (with Docker's `FORWARD DROP` and
//! bridge-nf, machines could not reach each other).

mod balancers;
mod cgroups;
mod command;
mod identity;
mod image;
mod instances;
mod machine;
mod network;
mod records;
mod volumes;

pub use balancers::BalancerService;
pub use image::{BuildOptions, build_node_image, node_image_busybox};
pub use machine::entry as machine_entry;

use cloud_api::{Cloud, CloudError, Identity, Images, InstanceType, Instances, LoadBalancers, Volumes};
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

/// How the embedded cloud is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything is kept; on a real filesystem (an overlay's upper directory cannot lie on an overlay).
    pub state_dir: PathBuf,
    /// Where node images are kept; may be shared by several clouds.
    pub image_dir: PathBuf,
    /// Names the network namespace, the host's device (`<name>0`) and the cgroups: at most 8 of `[a-z0-9]`, one for each
    /// cloud on this host.
    pub name: String,
    /// The first two bytes of the cloud's network, a /16. `.0.1` is the gateway: the host as machines see it.
    pub network: [u8; 2],
    /// The zones. They are names only: it is one host.
    pub zones: Vec<String>,
    /// The sizes of machines.
    pub types: Vec<InstanceType>,
    /// How many machines may exist.
    pub max_machines: usize,
    /// How many volumes may exist, and how many snapshots.
    pub max_volumes: usize,
    /// The program that becomes a machine's init: this and `launch <dir>` or `init <dir>`; it must end in [`machine_entry`].
    pub launcher: Vec<OsString>,
    /// A registry (`http://10.250.0.1:5000`) that machines ask before an image's own.
    pub registry: Option<String>,
}

impl Options {
    /// The usual settings under this state directory. `launcher` is the running program with the argument `machine`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        let size = |name: &str, milli_cpu, gib: u64| InstanceType {
            name: name.into(),
            milli_cpu,
            memory: gib << 30,
            max_pods: 110,
        };
        Self {
            image_dir: state_dir.join("images"),
            state_dir: state_dir.join("local"),
            name: "marina".into(),
            network: [10, 250],
            zones: ["a", "b", "c"].map(String::from).to_vec(),
            types: vec![
                size("small", 1000, 2),
                size("medium", 2000, 4),
                size("large", 4000, 8),
            ],
            max_machines: 64,
            max_volumes: 256,
            launcher: vec!["/proc/self/exe".into(), "machine".into()],
            registry: None,
        }
    }

    /// The host's address as machines see it: where `marinad` listens for them.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.network[0], self.network[1], 0, 1)
    }
}

/// The embedded cloud. Clones share it.
#[derive(Clone, Debug)]
pub struct LocalCloud(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    machines: instances::Table,
    balancers: balancers::Table,
    volumes: volumes::Table,
}

impl LocalCloud {
    /// Opens the cloud's state and finds running machines again. Changes nothing on the host.
    ///
    /// `Denied` without root's rights over namespaces and networks.
    pub fn open(options: Options) -> Result<Self, CloudError> {
        check_privileges()?;
        if options.name.is_empty()
            || options.name.len() > 8
            || !options
                .name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Err(CloudError::Invalid(format!(
                "name {:?} is not 1 to 8 of [a-z0-9]",
                options.name
            )));
        }
        let machines = instances::Table::load(&options)?;
        let balancers = balancers::Table::load(&options)?;
        let volumes = volumes::Table::load(&options)?;
        Ok(Self(Arc::new(Inner {
            options,
            machines,
            balancers,
            volumes,
        })))
    }

    /// The settings it was opened with.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Makes the cloud's network exist, so that its gateway address can be listened on. It goes away with the last machine
    /// and load balancer.
    pub async fn ensure_network(&self) -> Result<(), CloudError> {
        network::ensure(&self.0.options).await
    }

    /// The service that carries the load balancers' traffic; run it for as long as the program lives.
    pub fn balancer_service(&self) -> BalancerService {
        BalancerService::new(self.clone())
    }

    /// Removes the network, whatever still has an address in it: load balancers are reachable again after
    /// [`LocalCloud::ensure_network`].
    pub async fn remove_network(&self) -> Result<(), CloudError> {
        network::remove(&self.0.options).await
    }

    /// Removes the network if nothing needs it any more.
    pub async fn remove_network_if_unused(&self) -> Result<(), CloudError> {
        if self.0.machines.is_empty() && self.0.balancers.is_empty() {
            network::remove(&self.0.options).await?;
        }
        Ok(())
    }
}

/// CAP_SYS_ADMIN (21) and CAP_NET_ADMIN (12), by capabilities(7).
fn check_privileges() -> Result<(), CloudError> {
    const NEEDED: u64 = 1 << 21 | 1 << 12;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    match effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) {
        Some(bits) if bits & NEEDED == NEEDED => Ok(()),
        _ => Err(CloudError::Denied(
            "the local cloud makes namespaces and networks: run as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)"
                .into(),
        )),
    }
}

impl Cloud for LocalCloud {
    fn name(&self) -> &str {
        "local"
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
    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }
    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }
}
