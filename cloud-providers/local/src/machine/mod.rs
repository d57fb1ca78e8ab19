//! What runs as a machine: a launcher that makes the namespaces, and the init inside them.
//!
//! Both are the running program itself, called again with `launch <dir>` or `init <dir>`: nothing has to be installed, and
//! no process with threads is ever forked. All that they need stands in the machine's directory.

mod init;
mod launch;
mod root;

pub(crate) use root::{make_device, metadata_id};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the machine is told about itself; also readable inside as `/run/marina/metadata.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) provider_id: String,
    pub(crate) zone: String,
    pub(crate) instance_type: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) milli_cpu: u64,
    pub(crate) memory: u64,
    pub(crate) max_pods: u32,
    pub(crate) tags: BTreeMap<String, String>,
    /// What the machine shows at first boot to prove who it is.
    pub(crate) identity_document: String,
    pub(crate) registry: Option<String>,
}

/// A block device that the machine is given, by its number on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// Its name in `/dev`.
    pub(crate) name: String,
    pub(crate) major: u64,
    pub(crate) minor: u64,
}

/// How the machine is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) metadata: Metadata,
    /// The name of the cloud, for cgroups.
    pub(crate) cloud: String,
    /// The image's directories, topmost first.
    pub(crate) layers: Vec<PathBuf>,
    /// The devices of the volumes that are attached to it.
    pub(crate) volumes: Vec<Device>,
}

/// The files of a machine's directory.
pub(crate) struct Files<'a>(pub(crate) &'a Path);

impl Files<'_> {
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("config.json")
    }
    pub(crate) fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }
    pub(crate) fn user_data(&self) -> PathBuf {
        self.0.join("user-data")
    }
    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }
    pub(crate) fn upper(&self) -> PathBuf {
        self.0.join("upper")
    }
    pub(crate) fn work(&self) -> PathBuf {
        self.0.join("work")
    }
    /// Bound over directories of the machine that cannot lie on an overlay.
    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }
}

/// The entry for [`crate::Options::launcher`]: `args` are `launch <dir>` or `init <dir>`. Call it before any thread exists.
pub fn entry(args: &[OsString]) -> ExitCode {
    let outcome = match args {
        [verb, dir] if verb == "launch" => launch::launch(Path::new(dir)),
        [verb, dir] if verb == "init" => init::init(Path::new(dir)),
        _ => Err(MachineError::Usage),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("machine: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a machine could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error("usage: machine launch|init <directory>")]
    Usage,
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{what}: {source}")]
    System { what: String, source: nix::Error },
    #[error("{0}")]
    Other(String),
}

/// Says what was tried.
pub(crate) trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T, MachineError>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, MachineError> {
        self.map_err(|source| MachineError::Io {
            what: what.into(),
            source,
        })
    }
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, MachineError> {
        self.map_err(|source| MachineError::System {
            what: what.into(),
            source,
        })
    }
}

fn read_config(dir: &Path) -> Result<Config, MachineError> {
    let bytes = std::fs::read(Files(dir).config()).context("read config.json")?;
    serde_json::from_slice(&bytes).map_err(|e| MachineError::Other(format!("config.json: {e}")))
}
