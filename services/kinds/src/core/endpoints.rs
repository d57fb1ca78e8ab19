//! Endpoints.

use machinery::{Value, name};

use crate::edit::{each, fill_zero};
use crate::ip;
use crate::table::{AGE, NAME, age, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of endpoints.
pub(crate) struct Endpoints;

impl Rules for Endpoints {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        each(object.at_mut(&[]), "subsets", |subset| {
            each(subset, "ports", |port| fill_zero(port, "protocol", "TCP"));
        });
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for (i, subset) in object.list_at(&["subsets"]).iter().enumerate() {
            let path = Path::new("subsets").index(i);
            if subset.list_at(&["addresses"]).is_empty() && subset.list_at(&["notReadyAddresses"]).is_empty()
            {
                errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
            }
            for field in ["addresses", "notReadyAddresses"] {
                for (j, address) in subset.list_at(&[field]).iter().enumerate() {
                    validate_address(address, &path.child(field).index(j), errors);
                }
            }
            let ports = subset.list_at(&["ports"]);
            for (j, port) in ports.iter().enumerate() {
                validate_port(port, ports.len() > 1, &path.child("ports").index(j), errors);
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Endpoints"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![
            name_cell(object),
            shown(object.list_at(&["subsets"])).into(),
            age(object, cx),
        ]
    }
}

fn validate_address(address: &Value, path: &Path, errors: &mut FieldErrors) {
    let text = address["ip"].as_str().unwrap_or_default();
    if ip::parse(text).is_none() {
        errors.invalid(&path.child("ip"), text.to_owned(), "must be a valid IP address");
        // Upstream looks twice.
        ip::check(text, &path.child("ip"), errors);
    }
    ip::check_not_special(text, &path.child("ip"), errors);
    if let Some(host) = address["hostname"].as_str().filter(|h| !h.is_empty()) {
        errors.invalid_each(&path.child("hostname"), host, name::dns1123_label(host));
    }
    if let Some(node) = address["nodeName"].as_str() {
        errors.invalid_each(&path.child("nodeName"), node, name::dns1123_subdomain(node));
    }
}

fn validate_port(port: &Value, named: bool, path: &Path, errors: &mut FieldErrors) {
    match port["name"].as_str().unwrap_or_default() {
        "" if named => errors.required(&path.child("name"), ""),
        "" => {}
        text => errors.invalid_each(&path.child("name"), text, name::dns1123_label(text)),
    }
    let number = port["port"].as_i64().unwrap_or(0);
    for message in name::port_number(number) {
        errors.invalid(&path.child("port"), number, &message);
    }
    errors.enumeration(
        &path.child("protocol"),
        &port["protocol"],
        &["SCTP", "TCP", "UDP"],
    );
}

/// At most three addresses.
fn shown(subsets: &[Value]) -> String {
    const MOST: usize = 3;
    if subsets.is_empty() {
        return "<none>".into();
    }
    let (mut list, mut count) = (Vec::new(), 0);
    for subset in subsets {
        let addresses = subset.list_at(&["addresses"]);
        let ips = addresses.iter().map(|a| a["ip"].as_str().unwrap_or_default());
        let ports = subset.list_at(&["ports"]);
        if ports.is_empty() {
            count += addresses.len();
            list.extend(ips.take(MOST.saturating_sub(list.len())).map(str::to_owned));
            continue;
        }
        for port in ports {
            let port = port["port"].as_i64().unwrap_or(0);
            count += addresses.len();
            let room = MOST.saturating_sub(list.len());
            list.extend(ips.clone().take(room).map(|ip| {
                if ip.contains(':') {
                    format!("[{ip}]:{port}")
                } else {
                    format!("{ip}:{port}")
                }
            }));
        }
    }
    let text = list.join(",");
    if count > MOST {
        format!("{text} + {} more...", count - MOST)
    } else {
        text
    }
}
