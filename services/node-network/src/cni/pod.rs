//! A pod's device and routes, on both sides.

use crate::{Context, NetworkError, tool};
use nix::sched::{CloneFlags, setns};
use std::fs;
use std::net::Ipv4Addr;

/// What is wanted.
pub(crate) struct Attach<'a> {
    /// The pod's network namespace, as a path.
    pub(crate) netns: &'a str,
    /// The device inside.
    pub(crate) device: &'a str,
    /// The device outside.
    pub(crate) host_device: &'a str,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) mtu: u32,
}

/// Connects a pod, and answers with its hardware address. What an interrupted call left behind is replaced.
pub(crate) fn connect(want: &Attach<'_>) -> Result<String, NetworkError> {
    let Attach {
        netns,
        device,
        host_device: host,
        address,
        gateway,
        mtu,
    } = want;
    disconnect(host)?;
    let mac = hardware_address(*address);
    tool::ip(&format!(
        "link add {host} mtu {mtu} type veth peer name {device} mtu {mtu} address {mac} netns {netns}\n\
         addr add {gateway}/32 dev {host}\n\
         link set {host} up\n\
         route replace {address}/32 dev {host}\n"
    ))?;
    inside(netns, || {
        tool::ip(&format!(
            "link set lo up\n\
             addr add {address}/32 dev {device}\n\
             link set {device} up\n\
             route add {gateway}/32 dev {device} scope link\n\
             route add default via {gateway} dev {device}\n"
        ))
    })?;
    Ok(mac)
}

/// A pod's hardware address, made from its address: known without asking, and the same after a restart of the node.
/// `0a:58` is the locally administered prefix that upstream's plugins use for this.
fn hardware_address(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Runs `work` in another network namespace. Right only in a process of one thread, which a plugin is.
fn inside<T>(netns: &str, work: impl FnOnce() -> Result<T, NetworkError>) -> Result<T, NetworkError> {
    let own = fs::File::open("/proc/self/ns/net").context("open the own namespace")?;
    let other = fs::File::open(netns).context(format!("open {netns}"))?;
    setns(&other, CloneFlags::CLONE_NEWNET).context(format!("enter {netns}"))?;
    let outcome = work();
    setns(&own, CloneFlags::CLONE_NEWNET).context("return from the namespace")?;
    outcome
}

/// Removes a pod's device with its routes; one that is gone is fine.
pub(crate) fn disconnect(device: &str) -> Result<(), NetworkError> {
    if !std::path::Path::new("/sys/class/net").join(device).exists() {
        return Ok(());
    }
    match tool::run("ip", &["link", "del", device], "") {
        // The pod's namespace may take it along at the same moment.
        Err(NetworkError::Tool { message, .. }) if message.contains("Cannot find device") => Ok(()),
        other => other.map(drop),
    }
}

/// Lets connections from the node's 127.0.0.1 to a host port leave towards the pod.
pub(crate) fn accept_local(device: &str) -> Result<(), NetworkError> {
    fs::write(format!("/proc/sys/net/ipv4/conf/{device}/route_localnet"), "1").context("set route_localnet")
}
