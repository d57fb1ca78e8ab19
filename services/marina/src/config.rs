//! Where the service is and with which key: `~/.config/marina/config.json`, or what `MARINA_CONFIG` names.
//!
//! `marinad dev` writes this file. It holds a secret, so it must be readable by its owner alone.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    /// `https://host:port` of the REST API.
    pub(crate) endpoint: String,
    /// The CA of its certificate, PEM.
    pub(crate) ca_certificate: String,
    /// `mk_…`.
    pub(crate) api_key: String,
    /// Used where no `--project` is given.
    pub(crate) project: String,
}

/// The file's place.
pub(crate) fn path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MARINA_CONFIG") {
        return Ok(path.into());
    }
    let base = match std::env::var_os("XDG_CONFIG_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::home_dir()
            .context("no home directory; set MARINA_CONFIG")?
            .join(".config"),
    };
    Ok(base.join("marina").join("config.json"))
}

/// Reads it.
pub(crate) fn load() -> Result<Config> {
    let path = path()?;
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
            "no configuration at {}; `make up` writes it, or set MARINA_CONFIG to the file of your service",
            path.display()
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    warn_if_open(&path);
    serde_json::from_slice(&text).with_context(|| format!("{} is no configuration of marina", path.display()))
}

fn warn_if_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
        eprintln!(
            "warning: {} can be read by others; it holds a key",
            path.display()
        );
    }
}
