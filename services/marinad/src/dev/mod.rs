//! `marinad dev`: every role in one process on one machine.
//!
//! ```text
//!  127.0.0.1:7443       REST API v1                                   (marina CLI, scripts)
//!  127.64.0.0/10:6443   API servers, one address for each cluster     (kubectl)
//!  10.250.0.1:6443      tunnels of the machines; :5000 the embedded registry
//! ```
//! Parts are built in the order of what they need, and drained in the reverse order.

mod cloud_of;
mod controllers;
mod management;
mod parts;
mod sim;

use crate::clouds::LocalOptions;
use crate::state_dir::{StateDirOption, is_root};
use anyhow::{Result, bail};
use base::Shutdown;
use clap::Args;
use std::path::PathBuf;

/// `marinad dev`.
#[derive(Args, Clone)]
pub(crate) struct Options {
    #[command(flatten)]
    state_dir: StateDirOption,
    #[command(flatten)]
    local: LocalOptions,
    /// Port of the REST API, on 127.0.0.1.
    #[arg(long, default_value_t = 7443)]
    rest_port: u16,
    /// Port of the API servers, on addresses in 127.64.0.0/10 and on the machines' network.
    #[arg(long, default_value_t = 6443)]
    api_port: u16,
    /// Where to write the configuration of the `marina` command; ~/.config/marina/config.json if absent.
    #[arg(long, env = "MARINA_CONFIG")]
    config: Option<PathBuf>,
    /// Keep nothing on disk (tests and benchmarks).
    #[arg(long)]
    memory: bool,
    /// MiB that a cluster's audit log may have before it is put aside.
    #[arg(long, default_value_t = 100)]
    audit_log_maxsize: u64,
    /// Audit logs put aside that are kept for each cluster.
    #[arg(long, default_value_t = 10)]
    audit_log_maxbackup: usize,
    /// Days that audit logs are kept.
    #[arg(long, default_value_t = 30)]
    audit_log_maxage: u16,
    /// Where machines send traces of what runs on them: an OTLP collector over gRPC, as the machines reach it, such as
    /// http://10.250.0.1:4317 for one on this host. A loopback address would be the machine's own. Machines made from now
    /// on get it; off if absent. Traces of this process itself are turned on by OTEL_EXPORTER_OTLP_ENDPOINT.
    #[arg(long, env = "MARINA_NODE_OTLP_ENDPOINT", value_name = "URL")]
    node_otlp_endpoint: Option<telemetry::Endpoint>,
    /// Offer simulated machines alone, even to root.
    #[arg(long)]
    no_local_cloud: bool,
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(options: Options) -> Result<()> {
    let state = options.state_dir.open()?;
    let _lock = match state.lock()? {
        Ok(lock) => lock,
        Err(pid) => bail!(
            "marinad runs already (process {pid}) with {}",
            state.path().display()
        ),
    };
    if !is_root() {
        eprintln!("not root: machines of the embedded cloud are not available, clusters get cloud sim");
    }
    let shutdown = Shutdown::new();
    let parts = parts::start(&options, &state, &shutdown).await?;
    println!("ready");
    crate::signals::wait().await?;
    tracing::info!("stopping");
    shutdown.trigger();
    parts.drained().await;
    Ok(())
}
