//! The clouds that `dev` offers, and the image that machines boot.

use crate::state_dir::{StateDir, StateDirOption};
use anyhow::{Context, Result};
use clap::Args;
use cloud_local::LocalCloud;
use std::path::PathBuf;

/// Where the embedded registry listens, on the machines' side.
pub(crate) const REGISTRY_PORT: u16 = 5000;

/// `marinad node-image`.
#[derive(Args)]
pub(crate) struct ImageOptions {
    #[command(flatten)]
    state_dir: StateDirOption,
    /// The `marina-node` program to put into it; the one beside this program if absent.
    #[arg(long)]
    node_binary: Option<PathBuf>,
}

/// The embedded cloud's settings under a state directory.
pub(crate) fn local_options(state: &StateDir) -> cloud_local::Options {
    let mut options = cloud_local::Options::new(state.path());
    options.registry = Some(format!("http://{}:{REGISTRY_PORT}", options.gateway()));
    options
}

/// Opens the embedded cloud, or says why there is none.
pub(crate) fn open_local(state: &StateDir) -> Result<LocalCloud, cloud_api::CloudError> {
    LocalCloud::open(local_options(state))
}

/// `marina-node` beside this program.
fn node_binary() -> Result<PathBuf> {
    let me = std::env::current_exe().context("cannot tell where this program is")?;
    let path = me.with_file_name("marina-node");
    anyhow::ensure!(
        path.exists(),
        "{} is missing; build it, or say --node-binary",
        path.display()
    );
    Ok(path)
}

/// Builds the node image as far as it is missing or `marina-node` has changed.
pub(crate) async fn build_image(options: ImageOptions) -> Result<()> {
    let state = options.state_dir.open()?;
    build(&state, options.node_binary).await
}

/// See [`build_image`].
pub(crate) async fn build(state: &StateDir, binary: Option<PathBuf>) -> Result<()> {
    let binary = match binary {
        Some(path) => path,
        None => node_binary()?,
    };
    cloud_local::build_node_image(&cloud_local::BuildOptions {
        image_dir: local_options(state).image_dir,
        name: String::new(),
        node_binary: Some(binary),
        seeds: Vec::new(),
    })
    .await
    .context("cannot build the node image")
}
