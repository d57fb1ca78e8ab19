//! `marina image`.

use super::{Common, Cx, checked};
use crate::output::{self, Format};
use anyhow::Result;
use clap::Subcommand;
use service_api::{Cluster, Image, LoadedImages, Page};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Load images from a file that `docker save`, podman or buildah wrote (or an OCI layout in a tar).
    Load {
        /// The cluster whose nodes will run them.
        cluster: String,
        archive: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// List the loaded images.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        common: Common,
    },
}

pub(super) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Load {
            cluster,
            archive,
            common,
        } => {
            let cx = Cx::new(&common)?;
            let cluster = checked("cluster", &cluster)?;
            let _there: Cluster = cx.service.get(&cx.path(&format!("clusters/{cluster}"))).await?;
            let loaded: LoadedImages = cx.service.put_file("/v1/images", &archive).await?;
            show(&cx, &loaded.images)
        }
        Command::List { common } => {
            let cx = Cx::new(&common)?;
            let page: Page<Image> = cx.service.get("/v1/images").await?;
            show(&cx, &page.items)
        }
    }
}

fn show(cx: &Cx, images: &[Image]) -> Result<()> {
    if cx.output == Format::Json {
        return output::json(&images);
    }
    let rows: Vec<_> = images
        .iter()
        .map(|i| vec![i.reference.clone(), i.digest.clone()])
        .collect();
    output::table(&["IMAGE", "DIGEST"], &rows);
    Ok(())
}
