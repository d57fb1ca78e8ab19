//! What a node is told (user data, [`NodeConfig`]) and what the cloud says of the machine (`metadata.json`), as options.

use anyhow::{Context as _, ensure};
use kubelet::k8s::Quantity;
use serde::Deserialize;
use service_api::{NODE_CONFIG_VERSION, NodeConfig};
use std::net::IpAddr;
use std::path::Path;

/// What the cloud says of the machine. Only what a node uses is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    /// `spec.providerID`.
    pub(crate) provider_id: Option<String>,
    /// Its address.
    pub(crate) address: Option<IpAddr>,
}

/// Reads the metadata, if there is any.
pub(crate) fn read_metadata(path: &Path) -> anyhow::Result<Metadata> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| path.display().to_string()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Metadata::default()),
        Err(e) => Err(e).with_context(|| path.display().to_string()),
    }
}

/// Reads the user data.
pub(crate) fn read_config(path: &Path) -> anyhow::Result<NodeConfig> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let config: NodeConfig = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    let version = &config.api_version;
    ensure!(
        version == NODE_CONFIG_VERSION,
        "user data is of version {version:?}, not {NODE_CONFIG_VERSION:?}"
    );
    Ok(config)
}

/// What a node says of itself in its traces, and to whom. `k8s.cluster.name` is the cluster's id, which is what the API
/// server's spans call it.
pub(crate) fn telemetry_of(config: Option<&NodeConfig>, node: &str) -> telemetry::Options {
    let mut options = telemetry::Options::new("marina-node");
    options.resource.push(("k8s.node.name", node.to_owned()));
    if let Some(config) = config {
        options
            .resource
            .push(("k8s.cluster.name", config.cluster.clone()));
        options.endpoint.clone_from(&config.otlp_endpoint);
    }
    options
}

/// The kubelet's settings.
pub(crate) fn kubelet_options(config: &NodeConfig, machine: &Metadata) -> kubelet::Options {
    let node = &config.node;
    let mut options = kubelet::Options::new(&node.name);
    options.provider_id = node.provider_id.clone().or_else(|| machine.provider_id.clone());
    for (key, value) in [
        ("topology.kubernetes.io/zone", &node.zone),
        ("topology.kubernetes.io/region", &node.region),
        ("node.kubernetes.io/instance-type", &node.instance_type),
        ("marina.dev/node-pool", &node.pool),
    ] {
        if !value.is_empty() {
            options.labels.insert(key.to_owned(), value.clone());
        }
    }
    options.addresses = machine.address.into_iter().collect();
    options.cluster_dns = vec![config.network.cluster_dns];
    options.cluster_domain.clone_from(&config.network.dns_domain);
    if let Some(cpu) = node.milli_cpu {
        options.capacity.insert("cpu".to_owned(), Quantity(cores(cpu)));
    }
    if let Some(memory) = node.memory {
        options
            .capacity
            .insert("memory".to_owned(), Quantity(format!("{}Ki", memory / 1024)));
    }
    options.max_pods = node.max_pods;
    options
}

/// Canonical text of an amount of CPU.
fn cores(milli: u64) -> String {
    if milli.is_multiple_of(1000) {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER_DATA: &str = r#"{"apiVersion":"marina.dev/v1","cluster":"c1",
                "node":{"name":"n1","pool":"web","zone":"a","region":"local","instanceType":"small","maxPods":20,
                        "milliCpu":2000,"memory":4294967296},
                "server":{"address":"10.250.0.1:6443","serverName":"c1.marina.internal"},
                "network":{"serviceCidr":"10.96.0.0/16","podCidr":"10.244.0.0/16","kubernetesEndpoint":"10.250.255.1:6443",
                           "clusterDns":"10.96.0.10","dnsDomain":"cluster.local"},
                "caCertificate":"","clientCertificate":"","clientKey":"","servingCertificate":"","servingKey":""}"#;

    fn config(user_data: &str) -> NodeConfig {
        serde_json::from_str(user_data).unwrap()
    }

    #[test]
    fn traces_go_where_the_user_data_says_and_old_user_data_says_nothing() {
        let old = telemetry_of(Some(&config(USER_DATA)), "n1");
        assert_eq!(old.endpoint, None);
        assert_eq!(
            old.resource,
            [
                ("k8s.node.name", "n1".to_owned()),
                ("k8s.cluster.name", "c1".to_owned())
            ]
        );
        let mut told = config(USER_DATA);
        assert!(
            !serde_json::to_string(&told).unwrap().contains("otlp"),
            "absent, not null"
        );
        told.otlp_endpoint = Some("http://10.250.0.1:4317".into());
        let text = serde_json::to_string(&told).unwrap();
        assert!(
            text.contains(r#""otlpEndpoint":"http://10.250.0.1:4317""#),
            "{text}"
        );
        assert_eq!(
            telemetry_of(Some(&config(&text)), "n1").endpoint,
            told.otlp_endpoint
        );
    }

    #[test]
    fn user_data_and_metadata_make_a_kubelets_settings() {
        let config = config(USER_DATA);
        let machine: Metadata = serde_json::from_str(
            r#"{"id":"i-1","name":"n1","providerId":"local:///a/i-1","address":"10.250.0.5"}"#,
        )
        .unwrap();
        let options = kubelet_options(&config, &machine);
        assert_eq!(options.node_name, "n1");
        assert_eq!(options.provider_id.as_deref(), Some("local:///a/i-1"));
        assert_eq!(options.labels["marina.dev/node-pool"], "web");
        assert_eq!((options.capacity["cpu"].0.as_str(), options.max_pods), ("2", 20));
        assert_eq!(options.addresses, ["10.250.0.5".parse::<IpAddr>().unwrap()]);
        assert_eq!(cores(1500), "1500m");
    }
}
