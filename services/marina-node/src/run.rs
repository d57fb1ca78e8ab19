//! Everything a node runs, in one process: kubelet, kube-proxy, network, DNS, tunnel.

use crate::config::{Metadata, kubelet_options};
use anyhow::Context as _;
use base::{Clock, ClusterId, Shutdown};
use client::{Auth, Client, Config, HttpTransport};
use kubelet::server::Tls;
use kubelet::{Deps, Service};
use node_network::dns;
use runtime::{Informers, RestSource};
use service_api::NodeConfig;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinSet;

/// The largest packet of pods' devices, bytes: Ethernet's, since pods are routed and not wrapped.
const MTU: u32 = 1500;
/// Where pods ask for names.
const DNS_PORT: u16 = 53;
/// Who may use the kubelet's API, besides `system:masters`: the names under which API servers call kubelets.
const KUBELET_CLIENTS: [&str; 3] = [
    "kube-apiserver-kubelet-client",
    "kube-apiserver",
    "system:kube-apiserver",
];

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The kubelet alone, where others provide network and Services.
    pub(crate) kubelet_only: bool,
    /// Where the container runtime listens.
    pub(crate) runtime_socket: String,
    /// Manifests of static pods.
    pub(crate) manifests: Option<PathBuf>,
}

/// Runs a node until `shutdown`.
///
/// # Errors
/// If a part cannot be set up, or fails.
pub(crate) async fn run(
    config: NodeConfig,
    machine: Metadata,
    settings: Settings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let clock = Clock::system();
    let mut options = kubelet_options(&config, &machine);
    options.manifests = settings.manifests;
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let transport = HttpTransport::new(
        Config {
            server: format!("https://{}", config.server.address),
            ca_pem: config.ca_certificate.clone().into_bytes(),
            tls_server_name: Some(config.server.server_name.clone()),
            auth: Auth::Certificate {
                cert_pem: config.client_certificate.clone().into_bytes(),
                key_pem: config.client_key.clone().into_bytes(),
            },
            namespace: None,
        },
        clock.clone(),
    )?;
    let api = Client::new(Arc::new(transport)).with_user_agent("kubelet/v1.37.0 (linux) marina");
    if !settings.kubelet_only {
        let port = options.listen.map_or(0, |l| l.port());
        tasks.spawn(start_tunnel(&config, port, shutdown.clone()).await?);
        start_network(&config, &api, &mut tasks, &shutdown)?;
    }
    let tls = Tls {
        cert_pem: config.serving_certificate.clone().into_bytes(),
        key_pem: config.serving_key.clone().into_bytes(),
        client_ca_pem: config.ca_certificate.clone().into_bytes(),
        allowed_users: KUBELET_CLIENTS.map(str::to_owned).to_vec(),
    };
    let runtime = cri::Runtime::connect(&settings.runtime_socket)?;
    let service = Service::build(
        options,
        Deps {
            client: Some(api),
            runtime,
            clock,
            tls: Some(tls),
        },
    )?;
    let own = shutdown.clone();
    tasks.spawn(async move { service.run(own).await.context("kubelet") });
    until_ended(tasks, shutdown).await
}

/// Runs a node of static pods alone.
///
/// # Errors
/// As [`run`].
pub(crate) async fn standalone(node: String, settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut options = kubelet::Options::new(node);
    options.manifests = settings.manifests;
    let runtime = cri::Runtime::connect(&settings.runtime_socket)?;
    let service = Service::build(
        options,
        Deps {
            client: None,
            runtime,
            clock: Clock::system(),
            tls: None,
        },
    )?;
    service.run(shutdown).await.context("kubelet")
}

/// The node is all of its parts: when one ends, whoever started the node starts it again.
async fn until_ended(mut tasks: JoinSet<anyhow::Result<()>>, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended.context("a part of the node panicked").and_then(|r| r) {
            tracing::error!("{error:#}");
            outcome = Err(error);
        }
        shutdown.trigger();
    }
    outcome
}

/// The pods' network and the Services, over shared informers.
fn start_network(
    config: &NodeConfig,
    client: &Client,
    tasks: &mut JoinSet<anyhow::Result<()>>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let cluster: ClusterId = config.cluster.parse()?;
    let source = Arc::new(RestSource::new(cluster.clone(), client.clone()));
    let informers = Informers::new(source, shutdown.clone());
    let agent = node_network::Agent::build(
        node_network::Options {
            cluster,
            node: config.node.name.clone(),
            pod_cidr: config.network.pod_cidr.clone(),
            service_cidr: config.network.service_cidr.clone(),
            mtu: MTU,
            cni_dir: PathBuf::from("/etc/cni/net.d"),
            cni_bin_dir: PathBuf::from("/opt/cni/bin"),
        },
        &informers,
    )
    .context("network")?;
    let node_local = match config.network.cluster_dns {
        IpAddr::V4(ip) => vec![ip],
        IpAddr::V6(_) => Vec::new(),
    };
    let proxy = kube_proxy::Proxy::build(
        kube_proxy::Options {
            node: config.node.name.clone(),
            zone: Some(config.node.zone.clone()).filter(|z| !z.is_empty()),
            pod_cidr: config.network.pod_cidr.clone(),
            node_local,
        },
        &informers,
    )
    .context("kube-proxy")?;
    let dns = dns::Server::build(
        dns::Options {
            listen: vec![SocketAddr::new(config.network.cluster_dns, DNS_PORT)],
            domain: config.network.dns_domain.clone(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        },
        &informers,
    );
    informers.start();
    let (first, second, third) = (shutdown.clone(), shutdown.clone(), shutdown.clone());
    tasks.spawn(async move { dns.run(third).await.context("DNS") });
    tasks.spawn(async move {
        agent.run(first).await;
        // The informers live as long as who listens to them.
        drop(informers);
        Ok(())
    });
    tasks.spawn(async move {
        proxy.run(second).await;
        Ok(())
    });
    Ok(())
}

/// The tunnel, and the address under which pods find the API server through it.
async fn start_tunnel(
    config: &NodeConfig,
    kubelet_port: u16,
    shutdown: Shutdown,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
    let endpoint = config.network.kubernetes_endpoint;
    let length = if endpoint.is_ipv4() { 32 } else { 128 };
    let args = [
        "addr",
        "replace",
        &format!("{}/{length}", endpoint.ip()),
        "dev",
        "lo",
    ];
    let status = tokio::process::Command::new("ip")
        .args(args)
        .status()
        .await
        .context("ip")?;
    anyhow::ensure!(status.success(), "ip {}: {status}", args.join(" "));
    let server_name = rustls::pki_types::ServerName::try_from(config.server.server_name.clone());
    let (ca, cert, key) = (
        config.ca_certificate.clone(),
        config.client_certificate.clone(),
        config.client_key.clone(),
    );
    let tls: tunnel::TlsSource = Arc::new(move || {
        let identity = Some((cert.as_bytes(), key.as_bytes()));
        client::tls::client_config(ca.as_bytes(), identity, &[]).map_err(std::io::Error::other)
    });
    let agent = tunnel::Agent::new(tunnel::AgentOptions {
        servers: vec![config.server.address.to_string()],
        server_name: server_name.context("the server's name")?,
        tls,
        kubelet: SocketAddr::from(([127, 0, 0, 1], kubelet_port)),
        listen: vec![endpoint],
    });
    Ok(async move { agent.run(shutdown).await.context("tunnel") })
}
