//! The cloud's network: one layer 2 segment in a network namespace of its own.
//!
//! ```text
//!  host                       namespace <name>                 machines
//!  <name>0 10.250.0.1/16 ───── host0 ┐
//!   + addresses of the                ├ br0 ┬──── mv<id> ─────── eth0 10.250.0.10/16
//!     load balancers, /32             ┘     └──── mv<id> ─────── eth0 10.250.0.11/16
//! ```
//! The host's forwarding stays off and its nftables rules see none of the machines' traffic among themselves.

use crate::{Options, command::run};
use cloud_api::CloudError;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The host's end of the network.
pub(crate) fn host_device(options: &Options) -> String {
    format!("{}0", options.name)
}

fn namespace_file(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// The name of a machine's end on the bridge: at most 15 characters.
fn port_name(id: &str) -> String {
    let tail: String = id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .skip(1)
        .take(12)
        .collect();
    format!("mv{tail}")
}

/// How often and after which pauses a network is tried that another call is making at the same moment.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the network exist. Safe to repeat, and repairs what is half made: of several calls at once (machines of a pool) all
/// but one find half of it, and try again.
pub(crate) async fn ensure(options: &Options) -> Result<(), CloudError> {
    let mut tries = 1;
    loop {
        match make(options).await {
            Err(_) if tries < TRIES => tries += 1,
            outcome => return outcome,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn make(options: &Options) -> Result<(), CloudError> {
    let (name, device) = (&options.name, host_device(options));
    if Path::new("/sys/class/net").join(&device).exists() && namespace_file(name).exists() {
        return Ok(());
    }
    if !namespace_file(name).exists() {
        ip(&["netns", "add", name]).await?;
    }
    run(
        "ip",
        &["-n", name, "-force", "-batch", "-"],
        "link set lo up\nlink add br0 type bridge\nlink set br0 up\n",
    )
    .await
    .or_else(exists)?;
    ip(&[
        "link", "add", &device, "type", "veth", "peer", "name", "host0", "netns", name,
    ])
    .await
    .or_else(exists)?;
    run(
        "ip",
        &["-n", name, "-batch", "-"],
        "link set host0 master br0\nlink set host0 up\n",
    )
    .await?;
    let address = format!("{}/16", options.gateway());
    ip(&["addr", "replace", &address, "dev", &device]).await?;
    ip(&["link", "set", &device, "up"]).await?;
    Ok(())
}

/// Removes the network with everything that is still in it.
pub(crate) async fn remove(options: &Options) -> Result<(), CloudError> {
    let device = host_device(options);
    if Path::new("/sys/class/net").join(&device).exists() {
        ip(&["link", "del", &device]).await?;
    }
    if namespace_file(&options.name).exists() {
        ip(&["netns", "del", &options.name]).await?;
    }
    Ok(())
}

/// Gives the machine whose init is `pid` its `eth0`. The hardware address follows from the other, so that neighbours'
/// tables stay right when a machine is rebooted.
pub(crate) async fn attach(
    options: &Options,
    id: &str,
    address: Ipv4Addr,
    pid: i32,
) -> Result<(), CloudError> {
    let [a, b, c, d] = address.octets();
    let port = port_name(id);
    detach(options, id).await?;
    let batch = format!(
        "link add {port} type veth peer name eth0 address 02:4d:{a:02x}:{b:02x}:{c:02x}:{d:02x} netns {pid}\nlink set {port} master br0\nlink set {port} up\n"
    );
    run("ip", &["-n", &options.name, "-batch", "-"], &batch)
        .await
        .map(drop)
}

/// Removes a machine's end, if it has one. (It goes by itself when the machine's namespace goes, a little later.)
pub(crate) async fn detach(options: &Options, id: &str) -> Result<(), CloudError> {
    if !namespace_file(&options.name).exists() {
        return Ok(());
    }
    match ip(&["-n", &options.name, "link", "del", &port_name(id)]).await {
        Err(CloudError::Other(e)) if e.contains("Cannot find device") => Ok(()),
        other => other,
    }
}

/// Adds a load balancer's address to the host's end.
pub(crate) async fn add_address(options: &Options, address: Ipv4Addr) -> Result<(), CloudError> {
    ip(&[
        "addr",
        "replace",
        &format!("{address}/32"),
        "dev",
        &host_device(options),
    ])
    .await
}

/// Removes a load balancer's address.
pub(crate) async fn remove_address(options: &Options, address: Ipv4Addr) -> Result<(), CloudError> {
    match ip(&[
        "addr",
        "del",
        &format!("{address}/32"),
        "dev",
        &host_device(options),
    ])
    .await
    {
        Err(CloudError::Other(e)) if e.contains("Cannot assign") || e.contains("Cannot find device") => {
            Ok(())
        }
        other => other,
    }
}

/// The first free host number of a range of the network: machines have 10 to 32767, load balancers 32768 to 65000.
pub(crate) fn free_address(
    options: &Options,
    range: std::ops::Range<u16>,
    taken: impl Fn(Ipv4Addr) -> bool,
) -> Option<Ipv4Addr> {
    let [a, b] = options.network;
    range
        .map(|n| Ipv4Addr::new(a, b, (n >> 8) as u8, n as u8))
        .find(|address| !taken(*address))
}

async fn ip(args: &[&str]) -> Result<(), CloudError> {
    run("ip", args, "").await.map(drop)
}

fn exists<T: Default>(error: CloudError) -> Result<T, CloudError> {
    match error {
        CloudError::Other(e) if e.contains("File exists") => Ok(T::default()),
        other => Err(other),
    }
}
