//! Writes what each machine is told at its first boot.

use auth::Cluster;
use base::Clock;
use cloud_api::InstanceType;
use provider::{AccessError, NewNode, NodeUserData};
use service_api::{NODE_CONFIG_VERSION, NodeConfig, NodeIdentity, NodeNetwork, ServerAddress};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How long a node's certificates live.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// See the module.
pub(crate) struct UserData {
    pub(crate) clock: Clock,
    /// Where machines reach this process.
    pub(crate) server: SocketAddr,
    /// Server names are `<id>.<domain>`.
    pub(crate) domain: String,
    pub(crate) endpoint: SocketAddr,
    pub(crate) region: String,
    /// Where nodes send traces.
    pub(crate) otlp_endpoint: Option<String>,
    pub(crate) types: Vec<InstanceType>,
}

/// The tenth address of the range: where DNS is by custom.
fn dns_address(service_cidr: &str) -> Option<IpAddr> {
    let base: Ipv4Addr = service_cidr.split('/').next()?.parse().ok()?;
    Some(Ipv4Addr::from(u32::from(base).checked_add(10)?).into())
}

impl NodeUserData for UserData {
    fn user_data(&self, cluster: &Cluster, node: &NewNode<'_>) -> Result<Vec<u8>, AccessError> {
        let failed = |e: &dyn std::fmt::Display| AccessError(format!("cannot write user data: {e}"));
        let now = self.clock.now();
        let client = cluster
            .keys
            .issue_client(pki::Subject::node(node.name), LIFE, now);
        let client = client.map_err(|e| failed(&e))?;
        let names = pki::ServingNames {
            dns: vec![node.name.into()],
            ips: vec![Ipv4Addr::LOCALHOST.into()],
        };
        let serving = cluster
            .keys
            .issue_serving(pki::Subject::node(node.name), &names, LIFE, now);
        let serving = serving.map_err(|e| failed(&e))?;
        let shape = self.types.iter().find(|t| t.name == node.instance_type);
        let config = NodeConfig {
            api_version: NODE_CONFIG_VERSION.into(),
            cluster: cluster.id.to_string(),
            node: NodeIdentity {
                name: node.name.into(),
                pool: node.pool.into(),
                zone: node.zone.into(),
                region: self.region.clone(),
                instance_type: node.instance_type.into(),
                provider_id: None,
                max_pods: shape.map_or(110, |t| t.max_pods),
                milli_cpu: shape.map(|t| t.milli_cpu),
                memory: shape.map(|t| t.memory),
            },
            server: ServerAddress {
                address: self.server,
                server_name: format!("{}.{}", cluster.id, self.domain),
            },
            network: NodeNetwork {
                service_cidr: cluster.service_cidr.clone(),
                pod_cidr: cluster.pod_cidr.clone(),
                kubernetes_endpoint: self.endpoint,
                cluster_dns: dns_address(&cluster.service_cidr)
                    .ok_or_else(|| failed(&"the range of ClusterIPs makes no sense"))?,
                dns_domain: cluster.dns_domain.clone(),
            },
            ca_certificate: cluster.keys.ca_pem.clone(),
            client_certificate: client.cert_pem(),
            client_key: client.key_pem(),
            serving_certificate: serving.cert_pem(),
            serving_key: serving.key_pem(),
            otlp_endpoint: self.otlp_endpoint.clone(),
        };
        serde_json::to_vec(&config).map_err(|e| failed(&e))
    }
}
