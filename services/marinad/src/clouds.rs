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
    #[command(flatten)]
    local: LocalOptions,
    /// The `marina-node` program to put into it; the one beside this program if absent.
    #[arg(long)]
    node_binary: Option<PathBuf>,
}

/// What tells one embedded cloud on this host from another.
#[derive(Args, Clone, Debug)]
pub(crate) struct LocalOptions {
    /// Name of the embedded cloud: of its network namespace, device and control groups; 1 to 8 of [a-z0-9].
    #[arg(long, env = "MARINA_LOCAL_NAME", default_value = "marina", hide = true)]
    local_name: String,
    /// The first two bytes of its network, a /16.
    #[arg(long, env = "MARINA_LOCAL_NETWORK", default_value = "10.250", value_parser = two_bytes, hide = true)]
    local_network: [u8; 2],
    /// Where node images are kept, which several installations may share; `images` in the state directory if absent.
    #[arg(long, env = "MARINA_IMAGE_DIR", hide = true)]
    image_dir: Option<PathBuf>,
}

fn two_bytes(text: &str) -> Result<[u8; 2], String> {
    let parsed = text
        .split_once('.')
        .and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]));
    parsed.ok_or_else(|| format!("{text:?} is not like 10.250"))
}

impl LocalOptions {
    /// The embedded cloud's settings under a state directory.
    pub(crate) fn under(&self, state: &StateDir) -> cloud_local::Options {
        let mut options = cloud_local::Options::new(state.path());
        options.name.clone_from(&self.local_name);
        options.network = self.local_network;
        if let Some(dir) = &self.image_dir {
            options.image_dir.clone_from(dir);
        }
        options.registry = Some(format!("http://{}:{REGISTRY_PORT}", options.gateway()));
        options
    }

    /// Opens the embedded cloud, or says why there is none.
    pub(crate) fn open(&self, state: &StateDir) -> Result<LocalCloud, cloud_api::CloudError> {
        LocalCloud::open(self.under(state))
    }
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
    build(&options.local, &state, options.node_binary).await
}

/// See [`build_image`].
pub(crate) async fn build(local: &LocalOptions, state: &StateDir, binary: Option<PathBuf>) -> Result<()> {
    let binary = match binary {
        Some(path) => path,
        None => node_binary()?,
    };
    cloud_local::build_node_image(&cloud_local::BuildOptions {
        image_dir: local.under(state).image_dir,
        name: String::new(),
        node_binary: Some(binary),
        seeds: Vec::new(),
    })
    .await
    .context("cannot build the node image")
}
