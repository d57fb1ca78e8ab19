//! The commands. One file for each noun.

mod cluster;
mod credential;
mod image;
mod kubeconfig;
mod node_pool;

use crate::config::{self, Config};
use crate::http::Service;
use crate::output::Format;
use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Kubernetes clusters in under a second: create them, give them machines, get in.
#[derive(Parser)]
#[command(name = "marina", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// The project; the configuration's own if absent.
    #[arg(long, global = true, env = "MARINA_PROJECT")]
    project: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
}

#[derive(Subcommand)]
enum Command {
    /// Clusters: create, list, get, delete.
    #[command(subcommand, visible_alias = "clusters")]
    Cluster(cluster::Command),
    /// Node pools: create, list, get, resize, delete.
    #[command(subcommand, visible_alias = "node-pools")]
    NodePool(node_pool::Command),
    /// Print a kubeconfig, or merge it into your own.
    Kubeconfig(kubeconfig::Command),
    /// Container images on the nodes of the embedded cloud.
    #[command(subcommand, visible_alias = "images")]
    Image(image::Command),
    /// kubectl's credential plugin (kubeconfigs call it).
    #[command(hide = true)]
    Credential(credential::Command),
}

/// A command's surroundings.
pub(crate) struct Cx {
    service: Service,
    project: String,
    output: Format,
}

impl Cx {
    fn new(common: &Common) -> Result<Self> {
        let config: Config = config::load()?;
        let project = common.project.clone().unwrap_or_else(|| config.project.clone());
        Ok(Self {
            service: Service::new(&config)?,
            project,
            output: common.output,
        })
    }

    /// `/v1/projects/<project>` and what follows.
    fn path(&self, rest: &str) -> String {
        format!("/v1/projects/{}/{rest}", self.project)
    }
}

/// Runs one command.
pub(crate) async fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Cluster(command) => cluster::run(command).await,
        Command::NodePool(command) => node_pool::run(command).await,
        Command::Kubeconfig(command) => kubeconfig::run(command).await,
        Command::Image(command) => image::run(command).await,
        Command::Credential(command) => credential::run(command).await,
    }
}

/// Refuses what cannot be a name before it becomes part of a path.
fn checked<'a>(what: &'static str, name: &'a str) -> Result<&'a str> {
    service_api::check_name(what, name)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn no_two_arguments_have_one_name() {
        Cli::command().debug_assert();
    }
}
