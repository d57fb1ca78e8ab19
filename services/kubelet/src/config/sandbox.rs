//! A pod's sandbox: its namespaces, name, DNS, ports and cgroup parent.

use super::security::{self, SecurityError};
use crate::dns::{self, NodeDns};
use crate::k8s::{self, Pod};
use crate::names::Paths;
use crate::{cgroups, resources};
use cri::v1::{LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol};

/// The sandbox of the `attempt`-th try for this pod.
pub fn config(
    pod: &Pod,
    attempt: u32,
    node: &NodeDns,
    paths: &Paths,
) -> Result<PodSandboxConfig, SecurityError> {
    let meta = &pod.metadata;
    let mut labels = super::pod_labels(pod);
    for (key, value) in meta.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let sysctls = context.and_then(|c| c.sysctls.as_ref());
    let own = pod
        .spec
        .as_ref()
        .map(resources::pod_resources)
        .unwrap_or_default();
    Ok(PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: k8s::name(meta).to_owned(),
            uid: k8s::uid(meta).to_owned(),
            namespace: k8s::namespace(meta).to_owned(),
            attempt,
        }),
        hostname: if host_network {
            String::new()
        } else {
            dns::sandbox_hostname(pod, &node.cluster_domain)
        },
        log_directory: paths.pod_log_dir(pod).to_string_lossy().into_owned(),
        dns_config: Some(dns::dns_config(pod, node)),
        port_mappings: if host_network {
            Vec::new()
        } else {
            port_mappings(pod)
        },
        labels,
        annotations: meta.annotations.clone().into_iter().flatten().collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroups::pod_path(pod),
            security_context: Some(security::sandbox(pod, paths)?),
            sysctls: sysctls
                .into_iter()
                .flatten()
                .map(|s| (s.name.clone(), s.value.clone()))
                .collect(),
            overhead: None,
            resources: Some(cri::v1::LinuxContainerResources {
                cpu_period: resources::CPU_PERIOD,
                cpu_quota: own.cpu_quota.max(0),
                cpu_shares: own.cpu_shares,
                memory_limit_in_bytes: own.memory_limit,
                ..Default::default()
            }),
        }),
        windows: None,
    })
}

/// Host ports of all containers, for the CNI port-map.
pub fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let containers = pod.spec.iter().flat_map(resources::all_containers);
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    let mapping = |p: &k8s::ContainerPort| {
        let host_port = p.host_port.filter(|port| *port > 0)?;
        let protocol = match p.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let host_ip = p.host_ip.clone().unwrap_or_default();
        Some(PortMapping {
            protocol: protocol as i32,
            container_port: p.container_port,
            host_port,
            host_ip,
        })
    };
    ports.filter_map(mapping).collect()
}
