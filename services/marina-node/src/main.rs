//! `marina-node`: everything a node runs, in one program inside the node image.
//!
//! `run` is what the machine's init starts: it turns user data and metadata into options and then runs kubelet, kube-proxy,
//! network and tunnel. Traces go where its environment says (`OTEL_EXPORTER_OTLP_ENDPOINT`), or else the user data; a
//! node whose settings for traces make no sense says so and runs without. Called under the name `marina` (a link in the plugins' directory) it is the network plugin.

mod config;
mod run;

use base::Shutdown;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use telemetry::Guard;

#[derive(Parser)]
#[command(name = "marina-node", version, about = "A node of a Marina cluster")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the whole node
    #[command(alias = "first-boot")]
    Run(Files),
    /// Run the kubelet alone, where others provide network and Services
    Kubelet(Files),
    /// Run static pods without any API server
    Standalone {
        /// The node's name
        #[arg(long)]
        node: String,
        /// Manifests of static pods
        #[arg(long)]
        manifests: PathBuf,
        /// Where the container runtime listens
        #[arg(long, default_value = "/run/containerd/containerd.sock")]
        runtime: String,
    },
}

#[derive(clap::Args)]
struct Files {
    /// The user data
    #[arg(long, default_value = "/run/marina/user-data")]
    config: PathBuf,
    /// What the cloud says of the machine
    #[arg(long, default_value = "/run/marina/metadata.json")]
    metadata: PathBuf,
    /// Manifests of static pods
    #[arg(long)]
    manifests: Option<PathBuf>,
    /// Where the container runtime listens
    #[arg(long, default_value = "/run/containerd/containerd.sock")]
    runtime: String,
}

fn main() -> ExitCode {
    if node_network::cni::is_call() {
        return node_network::cni::main();
    }
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logs may not have been set up yet.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    tokio.block_on(async {
        let shutdown = Shutdown::new();
        tokio::spawn(stop_on_signal(shutdown.clone()));
        let (files, kubelet_only) = match cli.command {
            Command::Standalone {
                node,
                manifests,
                runtime,
            } => {
                let _traces = telemetry(config::telemetry_of(None, &node));
                let settings = run::Settings {
                    kubelet_only: true,
                    runtime_socket: runtime,
                    manifests: Some(manifests),
                };
                return run::standalone(node, settings, shutdown).await;
            }
            Command::Run(files) => (files, false),
            Command::Kubelet(files) => (files, true),
        };
        let config = config::read_config(&files.config)?;
        let _traces = telemetry(config::telemetry_of(Some(&config), &config.node.name));
        let machine = config::read_metadata(&files.metadata)?;
        let settings = run::Settings {
            kubelet_only,
            runtime_socket: files.runtime,
            manifests: files.manifests,
        };
        run::run(config, machine, settings, shutdown).await
    })
}

/// Logs, and traces if they are asked for. Traces that cannot be sent stop no node.
fn telemetry(options: telemetry::Options) -> Option<Guard> {
    telemetry::init(&options)
        .inspect_err(|error| tracing::error!("{error}; the node runs without traces"))
        .ok()
}

async fn stop_on_signal(shutdown: Shutdown) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    shutdown.trigger();
}
