//! What a kubelet is told.

use crate::k8s::{ResourceList, Taint};
use crate::logs::rotate;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Settings of one node. [`Options::new`] has upstream's defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name.
    pub node_name: String,
    /// `spec.providerID`, if a cloud gave one.
    pub provider_id: Option<String>,
    /// Labels besides the standard ones.
    pub labels: BTreeMap<String, String>,
    /// Taints the node registers with.
    pub taints: Vec<Taint>,
    /// The node's addresses, the primary first.
    pub addresses: Vec<IpAddr>,
    /// The kubelet's directory.
    pub root_dir: PathBuf,
    /// Logs of pods.
    pub pod_logs: PathBuf,
    /// Flat links to logs of containers.
    pub container_logs: PathBuf,
    /// Manifests of static pods.
    pub manifests: Option<PathBuf>,
    /// The cluster's DNS servers, as pods see them.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// The node's resolver configuration.
    pub resolv_conf: PathBuf,
    /// The node's file of host names.
    pub hosts_file: PathBuf,
    /// The machine's size where it is not what the kernel says (`cpu`, `memory`, `ephemeral-storage`).
    pub capacity: ResourceList,
    /// Of the capacity, what is kept from pods.
    pub reserved: ResourceList,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Where control groups are mounted; `None` leaves them to the runtime.
    pub cgroup_root: Option<PathBuf>,
    /// Where the kubelet's API listens; `None` for no API.
    pub listen: Option<SocketAddr>,
    /// How container logs are rotated.
    pub logs: rotate::Limits,
    /// The version the node reports.
    pub version: String,
    /// Whether to make the Node object; else it must exist.
    pub register: bool,
}

impl Options {
    /// Upstream's defaults for a node of this name.
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            provider_id: None,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            addresses: Vec::new(),
            root_dir: "/var/lib/kubelet".into(),
            pod_logs: "/var/log/pods".into(),
            container_logs: "/var/log/containers".into(),
            manifests: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: "/etc/resolv.conf".into(),
            hosts_file: "/etc/hosts".into(),
            capacity: ResourceList::new(),
            reserved: ResourceList::new(),
            max_pods: 110,
            cgroup_root: Some("/sys/fs/cgroup".into()),
            listen: Some(SocketAddr::from(([0, 0, 0, 0], 10250))),
            logs: rotate::Limits::default(),
            version: "v1.37.0".to_owned(),
            register: true,
        }
    }
}
