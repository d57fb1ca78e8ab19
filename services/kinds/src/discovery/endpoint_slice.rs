//! EndpointSlice.

use machinery::{Value, name};

use crate::edit::{each, fill};
use crate::table::{AGE, NAME, age, cell, name as name_cell, shortened, strings, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal, ip, strategy};

/// Rules of endpoint slices.
pub(crate) struct EndpointSlice;

impl Rules for EndpointSlice {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        each(object.at_mut(&[]), "ports", |port| {
            fill(port, "name", "");
            fill(port, "protocol", "TCP");
        });
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        strategy::count_generation(new, old);
        let before = old.int_at(&["metadata", "generation"]).unwrap_or(0);
        let labels = ["metadata", "labels"];
        // Labels of a slice count too.
        if !equal(new.at(&labels), old.at(&labels)) {
            new.at_mut(&["metadata"]).insert("generation", before + 1);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        errors.enumeration(
            &Path::new("addressType"),
            &object["addressType"],
            &["FQDN", "IPv4", "IPv6"],
        );
        let (ports, path) = (object.list_at(&["ports"]), Path::new("ports"));
        if ports.len() > 20_000 {
            errors.too_many(&path, ports.len(), 20_000);
        }
        for (i, port) in ports.iter().enumerate().take(20_000) {
            let at = path.index(i);
            let text = port["name"].as_str().unwrap_or_default();
            if !text.is_empty() {
                errors.invalid_each(&at.child("name"), text, name::dns1123_label(text));
            }
            if ports[..i].iter().any(|p| p["name"] == port["name"]) {
                errors.duplicate(&at.child("name"), text.to_owned());
            }
            errors.enumeration(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
            if let Some(text) = port["appProtocol"].as_str() {
                errors.invalid_each(&at.child("appProtocol"), text, name::qualified_name(text));
            }
        }
        let (endpoints, path) = (object.list_at(&["endpoints"]), Path::new("endpoints"));
        if endpoints.len() > 1000 {
            errors.too_many(&path, endpoints.len(), 1000);
            return;
        }
        let kind = object["addressType"].as_str().unwrap_or_default();
        for (i, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, kind, &path.index(i), errors);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        errors.immutable(
            &Path::new("addressType"),
            &new["addressType"],
            &old["addressType"],
        );
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let ports =
            object
                .list_at(&["ports"])
                .iter()
                .map(|p| match (p["port"].as_i64(), p["name"].as_str()) {
                    (Some(n), _) => n.to_string(),
                    (None, Some(name)) => name.to_owned(),
                    (None, None) => "*".to_owned(),
                });
        let addresses = object
            .list_at(&["endpoints"])
            .iter()
            .flat_map(|e| strings(e, &["addresses"]))
            .map(str::to_owned);
        let shown = |list: Vec<String>| -> Value {
            match shortened(&list) {
                text if text.is_empty() => "<unset>".into(),
                text => text.into(),
            }
        };
        vec![
            name_cell(object),
            cell(&object["addressType"]),
            shown(ports.collect()),
            shown(addresses.collect()),
            age(object, cx),
        ]
    }
}

fn validate_endpoint(endpoint: &Value, kind: &str, path: &Path, errors: &mut FieldErrors) {
    let (addresses, at) = (strings(endpoint, &["addresses"]), path.child("addresses"));
    if addresses.is_empty() {
        errors.required(&at, "must contain at least 1 address");
    } else if addresses.len() > 100 {
        errors.too_many(&at, addresses.len(), 100);
    }
    for (i, text) in addresses.iter().enumerate().take(100) {
        let one = at.index(i);
        if kind == "FQDN" {
            let domain = text.strip_suffix('.').unwrap_or(text);
            let bad = name::dns1123_subdomain(domain);
            if bad.is_empty() && !domain.contains('.') {
                let detail = "should be a domain with at least two segments separated by dots";
                errors.invalid(&one, domain.to_owned(), detail);
            }
            errors.invalid_each(&one, domain, bad);
            continue;
        }
        ip::check(text, &one, errors);
        let Some(address) = ip::parse(text) else { continue };
        if address.is_ipv4() != (kind == "IPv4") {
            errors.invalid(&at, (*text).to_owned(), &format!("must be an {kind} address"));
        }
        ip::check_not_special(text, &one, errors);
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        errors.invalid_each(&path.child("nodeName"), node, name::dns1123_subdomain(node));
    }
    if let Some(host) = endpoint["hostname"].as_str() {
        errors.invalid_each(&path.child("hostname"), host, name::dns1123_label(host));
    }
    let zones = endpoint.list_at(&["hints", "forZones"]);
    let at = path.child("hints.forZones");
    if zones.len() > 8 {
        errors.too_many(&at, zones.len(), 8);
    }
    for (i, zone) in zones.iter().enumerate().take(8) {
        let text = zone["name"].as_str().unwrap_or_default();
        errors.invalid_each(&at.index(i).child("name"), text, name::label_value(text));
    }
}
