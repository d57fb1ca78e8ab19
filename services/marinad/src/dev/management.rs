//! The service's own keys and the configuration of the `marina` command.

use crate::state_dir::StateDir;
use anyhow::{Context, Result};
use base::Clock;
use jiff::SignedDuration;
use provider::Handle;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// The key that `dev` writes into the configuration lives this long; a start renews it when it is not valid.
const KEY_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);

/// The keys of the management cluster, made at the first start.
pub(super) fn keys(state: &StateDir, clock: &Clock) -> Result<pki::ClusterKeys> {
    let path = state.join("management.keys");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(pki::ClusterKeys::from_bytes(&bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let address: IpAddr = Ipv4Addr::LOCALHOST.into();
            let names = pki::ServingNames {
                dns: vec!["localhost".into()],
                ips: vec![address],
            };
            let keys = pki::ClusterKeys::generate(&names, clock.now())?;
            StateDir::write_secret(&path, &keys.to_bytes())?;
            Ok(keys)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the configuration of the `marina` command, unless it is there and its key is valid.
pub(super) async fn write_config(
    path: Option<&Path>,
    endpoint: &str,
    keys: &pki::ClusterKeys,
    handle: &Handle,
    project: &str,
) -> Result<PathBuf> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => default_path()?,
    };
    let old: Value = std::fs::read(&path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let same = old["endpoint"] == endpoint && old["caCertificate"] == keys.ca_pem.as_str();
    let valid = match old["apiKey"].as_str() {
        Some(secret) if same => handle.accepts_key(secret).await,
        _ => false,
    };
    if !valid {
        let key = handle.create_operator_key(KEY_LIFE).await?;
        let config = json!({
            "endpoint": endpoint,
            "caCertificate": keys.ca_pem,
            "apiKey": key.secret,
            "project": project,
        });
        StateDir::write_secret(&path, &serde_json::to_vec_pretty(&config)?)?;
    }
    Ok(path)
}

fn default_path() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CONFIG_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::home_dir()
            .context("no home directory; say --config")?
            .join(".config"),
    };
    Ok(base.join("marina").join("config.json"))
}
