//! The network plugin, by the Container Network Interface specification 1.1 (results as of 1.0.0).
//!
//! containerd runs this program once for each pod that comes or goes, with the request in the environment and on standard
//! input. It keeps its records under `/run`, which a reboot empties together with the pods.
//! ```text
//!   pod                                 node
//!   eth0 10.244.1.7/32 ──────────────── veth1a2b… (has the range's first address, as every pod's gateway)
//!   default via 10.244.1.1              10.244.1.7/32 dev veth1a2b…
//! ```

mod hostports;
mod ipam;
mod pod;

use crate::plan::Cidr;
use crate::{Context, NetworkError};
use hostports::PortMapping;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where records are kept.
const STATE: &str = "/run/marina/cni";
/// The largest request that is read.
const REQUEST_LIMIT: u64 = 1 << 20;
/// The versions of the specification that requests may name.
const VERSIONS: [&str; 5] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.3.0"];

/// Whether this process was started as a network plugin.
pub fn is_call() -> bool {
    std::env::var_os("CNI_COMMAND").is_some()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    cni_version: String,
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(default)]
    mtu: Option<u32>,
    /// Where records are kept; for tests, which share the machine's `/run`.
    #[serde(default)]
    state_dir: Option<PathBuf>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    #[serde(default)]
    prev_result: Option<Value>,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    port_mappings: Vec<PortMapping>,
}

#[derive(Debug, Deserialize)]
struct Attachment {
    #[serde(rename = "containerID")]
    container: String,
}

/// Serves one call and ends: the answer is on standard output, errors too, in the specification's form.
pub fn main() -> ExitCode {
    match serve() {
        Ok(answer) => {
            if let Some(answer) = answer {
                println!("{answer}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            // 7: invalid configuration; 11: try again later; from 100 on: the plugin's own (specification, "Error").
            let code = match &error {
                NetworkError::Invalid(_) => 7,
                NetworkError::NoAddress(_) => 11,
                _ => 100,
            };
            println!(
                "{}",
                json!({ "cniVersion": "1.0.0", "code": code, "msg": error.to_string() })
            );
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str) -> Result<String, NetworkError> {
    std::env::var(name)
        .ok()
        .filter(|v| !v.is_empty())
        .ok_or_else(|| NetworkError::Invalid(format!("{name} is not set")))
}

fn serve() -> Result<Option<Value>, NetworkError> {
    let command = variable("CNI_COMMAND")?;
    if command == "VERSION" {
        return Ok(Some(
            json!({ "cniVersion": "1.1.0", "supportedVersions": VERSIONS }),
        ));
    }
    let mut input = Vec::new();
    std::io::stdin()
        .take(REQUEST_LIMIT)
        .read_to_end(&mut input)
        .context("read the request")?;
    let request: Request =
        serde_json::from_slice(&input).map_err(|e| NetworkError::Invalid(format!("configuration: {e}")))?;
    let range = Cidr::parse(&request.pod_cidr)
        .ok_or_else(|| NetworkError::Invalid(format!("podCIDR {:?} is no IPv4 range", request.pod_cidr)))?;
    let ipam = ipam::Ipam::open(request.state_dir.clone().unwrap_or_else(|| STATE.into()), range)?;
    match command.as_str() {
        "ADD" => add(&request, &ipam).map(Some),
        "DEL" => delete(&ipam, &variable("CNI_CONTAINERID")?).map(|()| None),
        "CHECK" => check(&ipam).map(|()| None),
        "STATUS" => ipam.check_free().map(|()| None),
        "GC" => {
            let valid: Vec<String> = request
                .valid_attachments
                .unwrap_or_default()
                .into_iter()
                .map(|a| a.container)
                .collect();
            for container in ipam.containers()?.into_iter().filter(|c| !valid.contains(c)) {
                delete(&ipam, &container)?;
            }
            Ok(None)
        }
        other => Err(NetworkError::Invalid(format!("CNI_COMMAND {other:?} is unknown"))),
    }
}

fn add(request: &Request, ipam: &ipam::Ipam) -> Result<Value, NetworkError> {
    let (container, netns, device) = (
        variable("CNI_CONTAINERID")?,
        variable("CNI_NETNS")?,
        variable("CNI_IFNAME")?,
    );
    let mut record = ipam.allocate(&container)?;
    let outcome = (|| {
        let mac = pod::connect(&pod::Attach {
            netns: &netns,
            device: &device,
            host_device: &record.device,
            address: record.address,
            gateway: ipam.gateway(),
            mtu: request.mtu.unwrap_or(1500),
        })?;
        let ports: Vec<_> = request
            .runtime_config
            .port_mappings
            .iter()
            .filter(|p| p.host_port > 0)
            .cloned()
            .collect();
        if !ports.is_empty() {
            record.ports = ports;
            ipam.update(&record)?;
            pod::accept_local(&record.device)?;
            hostports::add(record.address, &record.ports)?;
        }
        Ok(mac)
    })();
    match outcome {
        Ok(mac) => Ok(json!({
            "cniVersion": request.cni_version,
            "interfaces": [{ "name": device, "mac": mac, "sandbox": netns }, { "name": record.device }],
            "ips": [{ "address": format!("{}/32", record.address), "gateway": ipam.gateway(), "interface": 0 }],
            "routes": [{ "dst": "0.0.0.0/0", "gw": ipam.gateway() }],
            "dns": request.prev_result.as_ref().map_or(json!({}), |r| r["dns"].clone()),
        })),
        Err(error) => {
            // Leave nothing half made; the error of making it is the one that matters.
            let _also_failed = delete(ipam, &container);
            Err(error)
        }
    }
}

/// May be called for what is gone already, and any number of times.
fn delete(ipam: &ipam::Ipam, container: &str) -> Result<(), NetworkError> {
    let Some(record) = ipam.find(container)? else {
        return Ok(());
    };
    hostports::remove(&record.ports)?;
    pod::disconnect(&record.device)?;
    ipam.release(&record)
}

fn check(ipam: &ipam::Ipam) -> Result<(), NetworkError> {
    let container = variable("CNI_CONTAINERID")?;
    let record = ipam
        .find(&container)?
        .ok_or_else(|| NetworkError::Invalid(format!("{container} has no address")))?;
    let device = PathBuf::from("/sys/class/net").join(&record.device);
    if device.exists() {
        Ok(())
    } else {
        Err(NetworkError::Invalid(format!("{} is gone", record.device)))
    }
}
