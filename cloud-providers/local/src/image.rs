//! Node images: directories that machines' roots are overlays on.
//!
//! `<image_dir>/<name>.json` lists an image's layers, topmost first: a small one with `marina-node` and the configuration, and
//! Debian's base below it, which several images share. A machine remembers its layers, so a newer image changes
//! nothing under its feet. The base is built by `node-image/build`, which is part of the program.

use crate::LocalCloud;
use crate::Options;
use crate::records::{io_error, load, save};
use async_trait::async_trait;
use cloud_api::{CloudError, Image, Images, Result, Token};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The image that an empty name means.
const DEFAULT: &str = "default";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Manifest {
    layers: Vec<PathBuf>,
}

/// The layers of the image of this name; empty means the default one.
pub(crate) fn layers(options: &Options, name: &str) -> Result<Vec<PathBuf>> {
    let name = if name.is_empty() { DEFAULT } else { name };
    let known: Option<Manifest> = load(&manifest_path(&options.image_dir, name)?)?;
    known.map(|m| m.layers).ok_or_else(|| {
        CloudError::Invalid(format!(
            "no node image {name:?} in {}; build it first",
            options.image_dir.display()
        ))
    })
}

fn manifest_path(dir: &Path, name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(CloudError::Invalid(format!("{name:?} is no name of an image")));
    }
    Ok(dir.join(format!("{name}.json")))
}

/// How a node image is built.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Where images are kept ([`Options::image_dir`]).
    pub image_dir: PathBuf,
    /// The image's name; empty means the default one.
    pub name: String,
    /// The `marina-node` program to put into it.
    pub node_binary: Option<PathBuf>,
    /// Container images (archives as `docker save` or OCI layout makes them) that every machine has from its start,
    /// besides pause.
    pub seeds: Vec<PathBuf>,
}

/// The recipe and its data, so that the program can build the image wherever it is installed.
const RECIPE: [(&str, &str, u32); 3] = [
    ("build", include_str!("../../../node-image/build"), 0o755),
    (
        "files/etc/containerd/config.toml",
        include_str!("../../../node-image/files/etc/containerd/config.toml"),
        0o644,
    ),
    (
        "files/etc/sysctl.d/90-marina.conf",
        include_str!("../../../node-image/files/etc/sysctl.d/90-marina.conf"),
        0o644,
    ),
];

/// Builds the node image, or only what is missing of it: 20 to 40 seconds the first time, well below a second afterwards.
/// Needs `mmdebstrap` and a Debian mirror (`MARINA_DEBIAN_MIRROR`, else the host's own).
pub async fn build_node_image(options: &BuildOptions) -> Result<()> {
    let recipe = tempfile::tempdir().map_err(io_error("create a temporary directory"))?;
    for (path, text, mode) in RECIPE {
        let path = recipe.path().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io_error("write the recipe"))?;
        }
        fs::write(&path, text).map_err(io_error("write the recipe"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(io_error("write the recipe"))?;
    }
    let pause = recipe.path().join("pause.tar");
    write_pause(recipe.path(), &pause)
        .map_err(|e| CloudError::Other(format!("make the pause image: {e}")))?;
    let mut command = tokio::process::Command::new(recipe.path().join("build"));
    command
        .arg("--dir")
        .arg(&options.image_dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if !options.name.is_empty() {
        command.arg("--name").arg(&options.name);
    }
    if let Some(binary) = &options.node_binary {
        command.arg("--node-binary").arg(binary);
    }
    for seed in std::iter::once(&pause).chain(&options.seeds) {
        command.arg("--seed").arg(seed);
    }
    let status = command.status().await.map_err(io_error("run node-image/build"))?;
    if status.success() {
        return Ok(());
    }
    Err(CloudError::Other(format!(
        "node-image/build failed ({status}); its output says why"
    )))
}

fn write_pause(dir: &Path, to: &Path) -> std::result::Result<(), oci::OciError> {
    let store = oci::Store::open(&dir.join("store"))?;
    oci::seeds::pause().store(&store)?;
    oci::write_archive(&store, oci::seeds::PAUSE, fs::File::create(to)?)
}

/// The static busybox of the default node image, from which its container image is made; `None` before the image is built.
pub fn node_image_busybox(image_dir: &Path) -> Option<PathBuf> {
    let known: Manifest = load(&manifest_path(image_dir, DEFAULT).ok()?).ok()??;
    known
        .layers
        .iter()
        .map(|l| l.join("usr/bin/busybox"))
        .find(|p| p.exists())
}

#[async_trait]
impl Images for LocalCloud {
    async fn list(&self) -> Result<Vec<Image>> {
        let Ok(entries) = fs::read_dir(&self.0.options.image_dir) else {
            return Ok(Vec::new());
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
            .collect();
        names.sort();
        Ok(names
            .into_iter()
            .map(|name| Image {
                id: name.clone(),
                name,
                ready: true,
            })
            .collect())
    }

    /// `source` is the directory of a root filesystem; it is used where it is, not copied.
    async fn import(&self, name: &str, source: &Path, _token: &Token) -> Result<Image> {
        let path = manifest_path(&self.0.options.image_dir, name)?;
        if !source.join("usr").is_dir() {
            return Err(CloudError::Invalid(format!(
                "{} is no root filesystem",
                source.display()
            )));
        }
        let layers = vec![source.to_owned()];
        match load::<Manifest>(&path)? {
            Some(known) if known.layers != layers => {
                return Err(CloudError::Invalid(format!("the name {name} is taken")));
            }
            Some(_) => {}
            None => {
                fs::create_dir_all(&self.0.options.image_dir)
                    .map_err(io_error("create the image directory"))?;
                save(&path, &Manifest { layers })?;
            }
        }
        Ok(Image {
            id: name.into(),
            name: name.into(),
            ready: true,
        })
    }

    /// Removes the name and, if no machine uses it, the image's own layer; the shared base stays.
    async fn delete(&self, id: &str) -> Result<()> {
        let path = manifest_path(&self.0.options.image_dir, id)?;
        let known: Manifest = load(&path)?.ok_or_else(|| CloudError::NotFound(format!("image {id}")))?;
        let own = known
            .layers
            .first()
            .filter(|l| l.starts_with(self.0.options.image_dir.join("layers")));
        if let Some(own) = own {
            if self.0.machines.uses_layer(own) {
                return Err(CloudError::NotReady(format!("machines use image {id}")));
            }
            fs::remove_dir_all(own).map_err(io_error("remove the image's layer"))?;
        }
        fs::remove_file(&path).map_err(io_error("remove the image"))
    }
}
