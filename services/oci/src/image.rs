//! Making an image of one layer from files in memory: the same files give the same digests.

use crate::store::Reference;
use crate::{Digest, OciError, Store};
use serde_json::json;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One entry of an image's filesystem. Paths are relative to its root.
#[derive(Clone, Debug)]
pub enum File {
    /// A directory.
    Directory {
        /// Where.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// A regular file.
    Regular {
        /// Where.
        path: String,
        /// Its permissions.
        mode: u32,
        /// Its content.
        content: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: String,
        /// What it names.
        target: String,
    },
}

/// How an image is run if a pod does not say otherwise.
#[derive(Clone, Debug, Default)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments after them.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// A numeric user, or empty for root.
    pub user: String,
    /// `8080/tcp`.
    pub ports: Vec<String>,
}

/// An image in memory.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its full name.
    pub name: String,
    /// How it is run.
    pub config: ImageConfig,
    /// What is in it.
    pub files: Vec<File>,
}

impl Image {
    fn layer(&self) -> Result<Vec<u8>, OciError> {
        let mut tar = tar::Builder::new(Vec::new());
        for file in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            match file {
                File::Directory { path, mode } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(*mode);
                    header.set_size(0);
                    tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
                }
                File::Regular { path, mode, content } => {
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                File::Link { path, target } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }

    /// Puts the image into a store under its name, and answers with its manifest's digest.
    pub fn store(&self, store: &Store) -> Result<Digest, OciError> {
        let layer = self.layer()?;
        let layer_digest = store.put(&layer)?;
        let c = &self.config;
        let ports: serde_json::Map<_, _> = c.ports.iter().map(|p| (p.clone(), json!({}))).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": c.entrypoint, "Cmd": c.command, "Env": c.env, "User": c.user, "ExposedPorts": ports,
                // Names with the same content still are different images.
                "Labels": { "org.opencontainers.image.ref.name": self.name },
            },
            "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        })
        .to_string();
        let config_digest = store.put(config.as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": config_digest, "size": config.len() },
            "layers": [{ "mediaType": LAYER, "digest": layer_digest, "size": layer.len() }],
        })
        .to_string();
        let digest = store.put(manifest.as_bytes())?;
        store.name(
            &self.name,
            Reference {
                digest: digest.clone(),
                media_type: MANIFEST.into(),
            },
        )?;
        Ok(digest)
    }
}

/// This machine's architecture by Go's name, which image configurations use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
