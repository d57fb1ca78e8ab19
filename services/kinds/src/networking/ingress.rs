//! Ingress.

use machinery::{Value, name};

use crate::core::service::balancer_addresses;
use crate::table::{AGE, NAME, age, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, ip};

/// Rules of ingresses.
pub(crate) struct Ingress;

impl Rules for Ingress {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        object.at_mut(&["status", "loadBalancer"]);
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        crate::strategy::prepare_create(object, true, cx);
        object.at_mut(&["status", "loadBalancer"]);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let rules = spec.list_at(&["rules"]);
        if rules.is_empty() && spec["defaultBackend"].is_null() {
            errors.invalid(
                &path,
                spec["rules"].clone(),
                "either `defaultBackend` or `rules` must be specified",
            );
        }
        if !spec["defaultBackend"].is_null() {
            validate_backend(&spec["defaultBackend"], &path.child("defaultBackend"), errors);
        }
        for (i, rule) in rules.iter().enumerate() {
            validate_rule(rule, &path.child("rules").index(i), errors);
        }
        for (i, tls) in spec.list_at(&["tls"]).iter().enumerate() {
            let at = path.child("tls").index(i);
            for (j, host) in tls
                .list_at(&["hosts"])
                .iter()
                .filter_map(Value::as_str)
                .enumerate()
            {
                let at = at.child("hosts").index(j);
                let bad = if host.contains('*') {
                    name::wildcard_dns1123_subdomain(host)
                } else {
                    name::dns1123_subdomain(host)
                };
                errors.invalid_each(&at, host, bad);
            }
            if let Some(secret) = tls["secretName"].as_str().filter(|s| !s.is_empty()) {
                errors.invalid_each(&at.child("secretName"), secret, name::dns1123_subdomain(secret));
            }
        }
        if let Some(class) = spec["ingressClassName"].as_str() {
            errors.invalid_each(
                &path.child("ingressClassName"),
                class,
                name::dns1123_subdomain(class),
            );
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource != "status" {
            return;
        }
        for (i, point) in new
            .list_at(&["status", "loadBalancer", "ingress"])
            .iter()
            .enumerate()
        {
            let at = Path::new("status.loadBalancer.ingress").index(i);
            if let Some(text) = point["ip"].as_str().filter(|t| !t.is_empty()) {
                ip::check(text, &at.child("ip"), errors);
            }
            if let Some(host) = point["hostname"].as_str().filter(|t| !t.is_empty()) {
                errors.invalid_each(&at.child("hostname"), host, name::dns1123_subdomain(host));
                if ip::parse(host).is_some() {
                    errors.invalid(
                        &at.child("hostname"),
                        host.to_owned(),
                        "must be a DNS name, not an IP address",
                    );
                }
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Class"),
                text("Hosts"),
                text("Address"),
                text("Ports"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let ports = if spec["tls"].is_zero() { "80" } else { "80, 443" };
        vec![
            name_cell(object),
            spec["ingressClassName"]
                .as_str()
                .unwrap_or("<none>")
                .to_owned()
                .into(),
            hosts(spec.list_at(&["rules"])).into(),
            balancer_addresses(object).join(",").into(),
            ports.into(),
            age(object, cx),
        ]
    }
}

fn hosts(rules: &[Value]) -> String {
    const MOST: usize = 3;
    let named: Vec<&str> = rules
        .iter()
        .filter_map(|r| r["host"].as_str())
        .filter(|h| !h.is_empty())
        .collect();
    let shown = &named[..named.len().min(MOST)];
    if shown.is_empty() {
        return "*".into();
    }
    // As upstream counts: rules after the third host, whether they name one or not.
    let third = rules.iter().scan(0, |n, r| {
        *n += usize::from(!r["host"].is_zero());
        Some(*n)
    });
    let more = third.take(rules.len().saturating_sub(1)).any(|n| n >= MOST);
    if more {
        format!("{} + {} more...", shown.join(","), rules.len() - MOST)
    } else {
        shown.join(",")
    }
}

fn validate_rule(rule: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(host) = rule["host"].as_str().filter(|h| !h.is_empty()) {
        let at = path.child("host");
        if ip::parse(host).is_some() {
            errors.invalid(&at, host.to_owned(), "must be a DNS name, not an IP address");
        }
        let bad = if host.contains('*') {
            name::wildcard_dns1123_subdomain(host)
        } else {
            name::dns1123_subdomain(host)
        };
        errors.invalid_each(&at, host, bad);
    }
    if rule["http"].is_null() {
        return;
    }
    let paths = rule.list_at(&["http", "paths"]);
    let at = path.child("http.paths");
    if paths.is_empty() {
        errors.required(&at, "");
    }
    for (i, entry) in paths.iter().enumerate() {
        let at = at.index(i);
        let text = entry["path"].as_str().unwrap_or_default();
        match entry["pathType"].as_str() {
            None => {
                // Without a type the rest of the path means nothing.
                errors.required(&at.child("pathType"), "pathType must be specified");
                continue;
            }
            Some("Exact" | "Prefix") => {
                if !text.starts_with('/') {
                    errors.invalid(&at.child("path"), text.to_owned(), "must be an absolute path");
                }
                for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                    if text.contains(bad) {
                        errors.invalid(
                            &at.child("path"),
                            text.to_owned(),
                            &format!("must not contain '{bad}'"),
                        );
                    }
                }
                for bad in ["/..", "/."] {
                    if text.ends_with(bad) {
                        errors.invalid(
                            &at.child("path"),
                            text.to_owned(),
                            &format!("cannot end with '{bad}'"),
                        );
                    }
                }
            }
            Some("ImplementationSpecific") => {
                if !text.is_empty() && !text.starts_with('/') {
                    errors.invalid(&at.child("path"), text.to_owned(), "must be an absolute path");
                }
            }
            Some(other) => {
                let known = ["Exact", "ImplementationSpecific", "Prefix"];
                errors.not_supported(&at.child("pathType"), other.to_owned(), &known);
            }
        }
        validate_backend(&entry["backend"], &at.child("backend"), errors);
    }
}

fn validate_backend(backend: &Value, path: &Path, errors: &mut FieldErrors) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_null(), resource.is_null()) {
        (false, false) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (true, true) => errors.invalid(path, "", "resource or service backend is required"),
        (true, false) => {
            for field in ["kind", "name"] {
                if resource[field].is_zero() {
                    errors.required(&path.child("resource").child(field), "");
                }
            }
        }
        (false, true) => {
            let at = path.child("service");
            match service["name"].as_str().unwrap_or_default() {
                "" => errors.required(&at.child("name"), ""),
                text => errors.invalid_each(&at.child("name"), text, name::dns1123_label(text)),
            }
            let (number, named) = (service.at(&["port", "number"]), service.at(&["port", "name"]));
            match (
                number.as_i64().filter(|n| *n != 0),
                named.as_str().filter(|n| !n.is_empty()),
            ) {
                (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both port name & port number"),
                (Some(n), None) => {
                    for message in name::port_number(n) {
                        errors.invalid(&at.child("port.number"), n, &message);
                    }
                }
                (None, Some(text)) => {
                    errors.invalid_each(&at.child("port.name"), text, name::port_name(text));
                }
                (None, None) => errors.required(path, "port name or number is required"),
            }
        }
    }
}
