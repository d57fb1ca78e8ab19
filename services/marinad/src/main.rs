//! `marinad`: the service. One program whose roles are subcommands; `dev` is all of them in one process on one machine.

mod access;
mod clients;
mod clouds;
mod dev;
mod down;
mod images;
mod metrics;
mod rest;
mod signals;
mod state_dir;
mod store_role;
mod user_data;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// jemalloc, for RocksDB too: many short-lived trees on many threads cost a fifth to a third more CPU with glibc's
/// allocator (tests/bench `api`), at the same memory for a cluster. Rejected: mimalloc, which lies between the two.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Marina, the service.
#[derive(Parser)]
#[command(name = "marinad", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in this process, on this machine.
    Dev(dev::Options),
    /// Be one member of a replicated store, with an etcd v3 door.
    Store(store_role::Options),
    /// Stop what `dev` started: the process, the machines and their network. Data stays.
    Down(down::Options),
    /// Build the node image.
    NodeImage(clouds::ImageOptions),
    /// Become a machine of the embedded cloud (used by `dev`).
    #[command(hide = true)]
    Machine {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if let Command::Machine { arguments } = command {
        // Before any thread is started: a machine's init enters namespaces.
        return cloud_local::machine_entry(&arguments);
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .unwrap_or_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async {
        // The exporter of traces needs the runtime; what it still holds is sent when the guard is dropped.
        let mut settings = telemetry::Options::new("marinad");
        settings.filter = "info,openraft=warn";
        if std::env::var("MARINA_LOG_FORMAT").as_deref() == Ok("json") {
            settings.format = telemetry::Format::Json;
        }
        let _traces = telemetry::init(&settings)?;
        match command {
            Command::Dev(options) => dev::run(options).await,
            Command::Store(options) => store_role::run(options).await,
            Command::Down(options) => down::run(options).await,
            Command::NodeImage(options) => clouds::build_image(options).await,
            Command::Machine { .. } => Ok(()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
