//! NetworkPolicy.

use std::net::IpAddr;

use machinery::{Value, name};

use crate::edit::{each, fill};
use crate::table::{AGE, NAME, age, name as name_cell, selector, text};
use crate::types::label_selector;
use crate::{Column, Cx, FieldErrors, Path, Rules, ip};

/// Rules of network policies.
pub(crate) struct NetworkPolicy;

impl Rules for NetworkPolicy {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        let egress = spec.get("egress").is_some_and(|v| !v.is_zero());
        if spec.get("policyTypes").is_none_or(Value::is_zero) {
            let mut types = vec![Value::from("Ingress")];
            if egress {
                types.push("Egress".into());
            }
            spec.insert("policyTypes", types);
        }
        // No pointer in Go, so it is always there.
        spec.map_entry("podSelector");
        for side in ["ingress", "egress"] {
            each(spec, side, |rule| {
                each(rule, "ports", |port| fill(port, "protocol", "TCP"))
            });
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        label_selector::validate(&spec["podSelector"], &path.child("podSelector"), errors);
        for (side, peers) in [("ingress", "from"), ("egress", "to")] {
            for (i, rule) in spec.list_at(&[side]).iter().enumerate() {
                let at = path.child(side).index(i);
                for (j, port) in rule.list_at(&["ports"]).iter().enumerate() {
                    validate_port(port, &at.child("ports").index(j), errors);
                }
                for (j, peer) in rule.list_at(&[peers]).iter().enumerate() {
                    validate_peer(peer, &at.child(peers).index(j), errors);
                }
            }
        }
        let types = spec.list_at(&["policyTypes"]);
        let at = path.child("policyTypes");
        if types.len() > 2 {
            errors.invalid(
                &at,
                spec["policyTypes"].clone(),
                "may not specify more than two policyTypes",
            );
            return;
        }
        for (i, kind) in types.iter().enumerate() {
            if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
                errors.not_supported(&at.index(i), kind.clone(), &["Ingress", "Egress"]);
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Pod-Selector"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![
            name_cell(object),
            selector(object.at(&["spec", "podSelector"])),
            age(object, cx),
        ]
    }
}

fn validate_port(port: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(other) = port["protocol"]
        .as_str()
        .filter(|p| !matches!(*p, "TCP" | "UDP" | "SCTP"))
    {
        errors.not_supported(&path.child("protocol"), other.to_owned(), &["TCP", "UDP", "SCTP"]);
    }
    let end = port["endPort"].as_i64();
    match &port["port"] {
        Value::Int(n) => {
            name::port_number(*n)
                .iter()
                .for_each(|m| errors.invalid(&path.child("port"), *n, m));
            if let Some(end) = end {
                if end < *n {
                    errors.invalid(
                        &path.child("endPort"),
                        *n,
                        "must be greater than or equal to `port`",
                    );
                }
                name::port_number(end)
                    .iter()
                    .for_each(|m| errors.invalid(&path.child("endPort"), end, m));
            }
        }
        Value::Str(text) => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is non-numeric";
                errors.invalid(&path.child("endPort"), end, detail);
            }
            errors.invalid_each(&path.child("port"), text, name::port_name(text));
        }
        _ => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is not specified";
                errors.invalid(&path.child("endPort"), end, detail);
            }
        }
    }
}

fn validate_peer(peer: &Value, path: &Path, errors: &mut FieldErrors) {
    let selectors = ["podSelector", "namespaceSelector"];
    for field in selectors {
        label_selector::validate(&peer[field], &path.child(field), errors);
    }
    let block = &peer["ipBlock"];
    let selected = selectors.iter().any(|f| !peer[*f].is_null());
    if block.is_null() {
        if !selected {
            errors.required(path, "must specify a peer");
        }
        return;
    }
    validate_block(block, &path.child("ipBlock"), errors);
    if selected {
        errors.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn validate_block(block: &Value, path: &Path, errors: &mut FieldErrors) {
    let cidr = block["cidr"].as_str().unwrap_or_default();
    if cidr.is_empty() {
        errors.required(&path.child("cidr"), "");
        return;
    }
    ip::check_cidr(cidr, &path.child("cidr"), errors);
    let Some(outer) = ip::parse_cidr(cidr) else { return };
    for (i, except) in block
        .list_at(&["except"])
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        let at = path.child("except").index(i);
        ip::check_cidr(except, &at, errors);
        let Some(inner) = ip::parse_cidr(except) else {
            continue;
        };
        if !contains(outer, inner.0) || outer.1 >= inner.1 {
            errors.invalid(&at, except.to_owned(), "must be a strict subset of `cidr`");
        }
    }
}

fn contains((network, bits): (IpAddr, u8), ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}
