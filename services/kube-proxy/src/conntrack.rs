//! What the kernel remembers of clients, and must forget.
//!
//! A TCP connection to an endpoint that goes ends by itself; a UDP client may send for ever to where its first datagram went,
//! and a client with affinity would be sent to an index that now means another endpoint, or none.

use crate::ProxyError;
use crate::rules::Front;
use crate::ruleset::{INSIDE, TABLE};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// How long a tool may take; the first load of a large cluster is the longest.
const LIMIT: Duration = Duration::from_secs(60);
/// How much of a complaint is kept.
const COMPLAINT: usize = 2000;

/// Runs a tool to its end.
pub(crate) async fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, ProxyError> {
    let refused = |message: String| ProxyError::Refused { program, message };
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ProxyError::Missing { program, source })?;
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A tool that refuses early closes the pipe; its exit code tells.
            let _closed = stdin.write_all(input.as_bytes()).await;
        }
    };
    let work = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(LIMIT, work)
        .await
        .map_err(|_| refused(format!("took longer than {LIMIT:?}")))?
        .map_err(|source| ProxyError::Missing { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(refused(complaint.trim().chars().take(COMPLAINT).collect()))
}

/// Forgets the UDP connections of these fronts.
pub(crate) async fn forget_udp(fronts: &BTreeSet<Front>) {
    for front in fronts {
        let port = match front {
            Front::Address(_, _, port) | Front::NodePort(_, port) => port.to_string(),
        };
        let mut args = vec!["-D", "-p", "udp", "--orig-port-dst", &port];
        let address;
        if let Front::Address(ip, ..) = front {
            address = ip.to_string();
            args.extend(["--orig-dst", &address]);
        }
        match run("conntrack", &args, "").await {
            Ok(_) => {}
            Err(ProxyError::Refused { message, .. }) if message.contains("0 flow entries") => {}
            Err(error) => tracing::warn!(%error, ?front, "old UDP connections could not be forgotten"),
        }
    }
}

/// Forgets which endpoint clients had, where that index now means another.
pub(crate) async fn forget_affinity(stale: &BTreeMap<Front, BTreeSet<u32>>) -> Result<(), ProxyError> {
    if stale.is_empty() {
        return Ok(());
    }
    let mut args = vec!["-j", "list", "map"];
    args.extend(TABLE.split(' '));
    args.push("aff");
    let dump = run("nft", &args, "").await?;
    let keys = stale_clients(&dump, stale);
    if keys.is_empty() {
        return Ok(());
    }
    // An entry may time out in between, which would make one transaction for all fail.
    for key in keys {
        let _timed_out = run(
            "nft",
            &["-f", "-"],
            &format!("delete element {TABLE} aff {{ {key} }}\n"),
        )
        .await;
    }
    Ok(())
}

/// The keys of `aff` that hold a stale index, out of nft's JSON.
fn stale_clients(dump: &str, stale: &BTreeMap<Front, BTreeSet<u32>>) -> Vec<String> {
    let dump: Value = serde_json::from_str(dump).unwrap_or_default();
    let maps = dump["nftables"].as_array().into_iter().flatten();
    let entries = maps.filter_map(|m| m["map"]["elem"].as_array()).flatten();
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    entries
        .filter_map(|entry| {
            let key = entry[0]["elem"]["val"]["concat"]
                .as_array()
                .or_else(|| entry[0]["concat"].as_array())?;
            let [client, address, protocol, port] = key.as_slice() else {
                return None;
            };
            let index = u32::try_from(entry[1].as_u64()?).ok()?;
            let matches = |front: &Front| match front {
                Front::Address(ip, p, number) => {
                    text(address) == ip.to_string()
                        && text(protocol) == p.name()
                        && text(port) == number.to_string()
                }
                Front::NodePort(p, number) => text(protocol) == p.name() && text(port) == number.to_string(),
            };
            // Indices of the list for clients inside are told off whenever the front changes.
            let hit = stale
                .iter()
                .any(|(f, moved)| matches(f) && (index >= INSIDE || moved.contains(&index)));
            hit.then(|| [client, address, protocol, port].map(text).join(" . "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Protocol;
    use std::net::Ipv4Addr;

    #[test]
    fn only_clients_at_a_moved_index_of_that_front_are_found() {
        let entry = |client: &str, port: u16, index: u32| serde_json::json!([{ "elem": { "val": { "concat": [client, "10.96.0.1", "tcp", port] }, "timeout": 60 } }, index]);
        let elem = [
            entry("10.0.0.1", 80, 0),
            entry("10.0.0.2", 80, 1),
            entry("10.0.0.3", 81, 1),
        ];
        let dump = serde_json::json!({ "nftables": [{ "metainfo": {} }, { "map": { "elem": elem } }] });
        let front = Front::Address(Ipv4Addr::new(10, 96, 0, 1), Protocol::Tcp, 80);
        let stale = BTreeMap::from([(front, BTreeSet::from([1]))]);
        assert_eq!(
            stale_clients(&dump.to_string(), &stale),
            ["10.0.0.2 . 10.96.0.1 . tcp . 80"]
        );
        assert_eq!(stale_clients("nonsense", &stale), Vec::<String>::new());
    }
}
