//! What a machine is told at its first boot: its user data, JSON, at most 16 KiB.
//!
//! Written by the provider, read by `marina-node`. It holds the node's key, so it is as secret as the machine itself; a
//! cloud hands it to that machine alone.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeConfig {
    /// Always `marina.dev/v1`: a program that does not know it refuses to start.
    pub api_version: String,
    /// The cluster's id.
    pub cluster: String,
    /// Who this machine is.
    pub node: NodeIdentity,
    /// Where the service is.
    pub server: ServerAddress,
    /// The cluster's network.
    pub network: NodeNetwork,
    /// The cluster's CA, PEM.
    pub ca_certificate: String,
    /// Client certificate for `system:node:<name>` in `system:nodes`, PEM.
    pub client_certificate: String,
    /// Its key, PEM (PKCS #8).
    pub client_key: String,
    /// Serving certificate of the kubelet's port, PEM.
    pub serving_certificate: String,
    /// Its key, PEM (PKCS #8).
    pub serving_key: String,
    /// Where the node sends traces, OTLP over gRPC: `http://HOST:PORT` or `https://HOST:PORT`. Absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
}

/// The only value of [`NodeConfig::api_version`].
pub const NODE_CONFIG_VERSION: &str = "marina.dev/v1";

/// Who the machine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeIdentity {
    /// The Node object's name.
    pub name: String,
    /// Label `marina.dev/node-pool`.
    pub pool: String,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: String,
    /// Label `topology.kubernetes.io/region`.
    pub region: String,
    /// Label `node.kubernetes.io/instance-type`.
    pub instance_type: String,
    /// `<cloud>:///<zone>/<instance>`, if it is known when the user data is written; else the machine asks its cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// `spec.maxPods` of the instance type.
    pub max_pods: u32,
    /// CPU in thousandths of a core that the node may give away; absent: all that the machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milli_cpu: Option<u64>,
    /// Bytes of memory, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// Where the tunnel leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerAddress {
    /// Address and port as this machine reaches it.
    pub address: SocketAddr,
    /// TLS server name: `<cluster-id>.<domain>`.
    pub server_name: String,
}

/// The cluster's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeNetwork {
    /// ClusterIPs.
    pub service_cidr: String,
    /// Pod addresses of the whole cluster.
    pub pod_cidr: String,
    /// The address that the `kubernetes` Service leads to; every node binds it and passes it on through the tunnel.
    pub kubernetes_endpoint: SocketAddr,
    /// The ClusterIP of DNS, which every node answers itself.
    pub cluster_dns: IpAddr,
    /// Normally `cluster.local`.
    pub dns_domain: String,
}
