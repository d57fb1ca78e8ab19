//! What is wrong with a service.

use std::net::IpAddr;

use machinery::{Value, name, value};

use super::externally_accessible;
use crate::{FieldErrors, Path, equal, ip, metadata};

fn headless(spec: &Value) -> bool {
    matches!(spec.list_at(&["clusterIPs"]), [one] if one.as_str() == Some("None"))
}

/// A port's number or name.
pub(crate) fn port_or_name(port: &Value, path: &Path, errors: &mut FieldErrors) {
    match port {
        Value::Int(n) => name::port_number(*n)
            .iter()
            .for_each(|m| errors.invalid(path, *n, m)),
        Value::Str(s) => errors.invalid_each(path, s, name::port_name(s)),
        _ => errors.invalid(path, 0, &name::range_message(1, 65535)),
    }
}

pub(super) fn service(object: &Value, errors: &mut FieldErrors) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let kind = spec["type"].as_str().unwrap_or_default();
    let ports = spec.list_at(&["ports"]);
    if ports.is_empty() && !headless(spec) && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless(spec) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&path.child("clusterIPs").index(0), "None", &detail);
        }
        "ExternalName" => external_name(spec, &path, errors),
        _ => {}
    }
    each_port(ports, kind, &path.child("ports"), errors);
    metadata::validate_labels(&spec["selector"], &path.child("selector"), errors);
    session_affinity(spec, &path, errors);
    cluster_ips(spec, &path, errors);
    for (i, text) in spec
        .list_at(&["externalIPs"])
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        let at = path.child("externalIPs").index(i);
        ip::check(text, &at, errors);
        ip::check_not_special(text, &at, errors);
    }
    let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    errors.enumeration(&path.child("type"), &spec["type"], &kinds);
    let ranges = spec.list_at(&["loadBalancerSourceRanges"]);
    let at = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && kind != "LoadBalancer" {
        errors.forbidden(&at, "may only be used when `type` is 'LoadBalancer'");
    }
    for (i, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
        ip::check_cidr(range.trim(), &at.index(i), errors);
    }
    if kind != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if !spec[field].is_null() {
                errors.forbidden(
                    &path.child(field),
                    "may only be used when `type` is 'LoadBalancer'",
                );
            }
        }
    } else if let Some(class) = spec["loadBalancerClass"].as_str() {
        errors.invalid_each(
            &path.child("loadBalancerClass"),
            class,
            name::qualified_name(class),
        );
    }
    traffic(spec, &path, errors);
}

fn external_name(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec[field].is_zero() {
            errors.forbidden(&path.child(field), "may not be set for ExternalName services");
        }
    }
    let at = path.child("externalName");
    match spec["externalName"]
        .as_str()
        .unwrap_or_default()
        .trim_end_matches('.')
    {
        "" => errors.required(&at, ""),
        text => errors.invalid_each(&at, text, name::dns1123_subdomain(text)),
    }
}

fn each_port(ports: &[Value], kind: &str, path: &Path, errors: &mut FieldErrors) {
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        let before = &ports[..i];
        match port["name"].as_str().unwrap_or_default() {
            "" if ports.len() > 1 => errors.required(&at.child("name"), ""),
            "" => {}
            text => {
                errors.invalid_each(&at.child("name"), text, name::dns1123_label(text));
                if before.iter().any(|p| p["name"] == port["name"]) {
                    errors.duplicate(&at.child("name"), text.to_owned());
                }
            }
        }
        let number = port["port"].as_i64().unwrap_or(0);
        name::port_number(number)
            .iter()
            .for_each(|m| errors.invalid(&at.child("port"), number, m));
        errors.enumeration(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
        port_or_name(&port["targetPort"], &at.child("targetPort"), errors);
        if let Some(text) = port["appProtocol"].as_str() {
            errors.invalid_each(&at.child("appProtocol"), text, name::qualified_name(text));
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let node = port["nodePort"].as_i64().unwrap_or(0);
        if node == 0 {
            continue;
        }
        let at = path.index(i).child("nodePort");
        if kind == "ClusterIP" {
            errors.forbidden(&at, "may not be used when `type` is 'ClusterIP'");
        }
        let same = |p: &Value| p["nodePort"].as_i64() == Some(node) && p["protocol"] == port["protocol"];
        if ports[..i].iter().any(same) {
            errors.duplicate(&at, node);
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let same = |p: &Value| p["port"] == port["port"] && p["protocol"] == port["protocol"];
        if ports[..i].iter().any(same) {
            let key = value!({"port": (port["port"].clone()), "protocol": (port["protocol"].clone())});
            errors.duplicate(&path.index(i), key);
        }
    }
}

fn session_affinity(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let at = path.child("sessionAffinity");
    errors.enumeration(&at, &spec["sessionAffinity"], &["ClientIP", "None"]);
    let config = path.child("sessionAffinityConfig");
    match spec["sessionAffinity"].as_str() {
        Some("ClientIP") => {
            let at = config.child("clientIP.timeoutSeconds");
            match spec
                .at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"])
                .as_i64()
            {
                None => errors.required(&at, "when session affinity type is ClientIP"),
                Some(n) if !(1..=86400).contains(&n) => {
                    errors.invalid(&at, n, "must be greater than 0 and less than 86400");
                }
                Some(_) => {}
            }
        }
        Some("None") if !spec["sessionAffinityConfig"].is_null() => {
            errors.forbidden(&config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn cluster_ips(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if spec["type"].as_str() == Some("ExternalName") {
        return;
    }
    let (list, at) = (spec.list_at(&["clusterIPs"]), path.child("clusterIPs"));
    match (spec["clusterIP"].as_str().unwrap_or_default(), list) {
        ("", []) => {}
        ("", _) => {
            errors.invalid(
                &at,
                spec["clusterIPs"].clone(),
                "must be empty when `clusterIP` is not specified",
            );
        }
        (_, []) => errors.required(&at, ""),
        (single, [first, ..]) if first.as_str() != Some(single) => {
            errors.invalid(
                &at,
                spec["clusterIPs"].clone(),
                "first value must match `clusterIP`",
            );
        }
        _ => {}
    }
    let families = spec.list_at(&["ipFamilies"]);
    for (i, family) in families.iter().enumerate() {
        let at = path.child("ipFamilies").index(i);
        errors.enumeration(&at, family, &["IPv4", "IPv6"]);
        if families[..i].contains(family) {
            errors.duplicate(&at, family.clone());
        }
    }
    if !spec["ipFamilyPolicy"].is_null() {
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.enumeration(&path.child("ipFamilyPolicy"), &spec["ipFamilyPolicy"], &known);
    }
    for (i, text) in list.iter().filter_map(Value::as_str).enumerate() {
        let at = at.index(i);
        if i == 0 && text == "None" {
            if list.len() > 1 {
                let detail = "'None' must be the first and only value";
                errors.invalid(&path.child("clusterIPs"), spec["clusterIPs"].clone(), detail);
            }
            continue;
        }
        ip::check(text, &at, errors);
        let is = ip::parse(text).map(|a: IpAddr| if a.is_ipv4() { "IPv4" } else { "IPv6" });
        if let (Some(is), Some(wanted)) = (is, families.get(i).and_then(Value::as_str))
            && is != wanted
        {
            let detail = format!("expected an {wanted} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(&at, text.to_owned(), &detail);
        }
    }
    if list.len() > 2 {
        errors.invalid(&at, spec["clusterIPs"].clone(), "may only hold up to 2 values");
    }
}

fn traffic(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (policy, at) = (
        &spec["externalTrafficPolicy"],
        path.child("externalTrafficPolicy"),
    );
    if externally_accessible(spec) {
        errors.enumeration(&at, policy, &["Cluster", "Local"]);
    } else if !policy.is_zero() {
        errors.invalid(
            &at,
            policy.clone(),
            "may only be set for externally-accessible services",
        );
    }
    let health = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
    let checked = spec["type"].as_str() == Some("LoadBalancer") && policy.as_str() == Some("Local");
    if !checked && health != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&path.child("healthCheckNodePort"), health, detail);
    }
    let kind = spec["type"].as_str().unwrap_or_default();
    let (policy, at) = (
        &spec["internalTrafficPolicy"],
        path.child("internalTrafficPolicy"),
    );
    if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") || !policy.is_null() {
        errors.enumeration(&at, policy, &["Cluster", "Local"]);
    }
    if !spec["trafficDistribution"].is_null() {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.enumeration(
            &path.child("trafficDistribution"),
            &spec["trafficDistribution"],
            &known,
        );
    }
}

pub(super) fn update(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (spec, was, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    let external = |s: &Value| s["type"].as_str() == Some("ExternalName");
    let free = external(spec) || external(was) || (headless(spec) && headless(was));
    if !free {
        let (ips, had) = (spec.list_at(&["clusterIPs"]), was.list_at(&["clusterIPs"]));
        let at = path.child("clusterIPs");
        if ips.is_empty() && !had.is_empty() {
            errors.invalid(
                &at.index(0),
                spec["clusterIPs"].clone(),
                "primary clusterIP can not be unset",
            );
        }
        for (i, (a, b)) in ips.iter().zip(had).enumerate() {
            if a != b {
                errors.invalid(
                    &at.index(i),
                    spec["clusterIPs"].clone(),
                    "may not change once set",
                );
            }
        }
        let (families, had) = (spec.list_at(&["ipFamilies"]), was.list_at(&["ipFamilies"]));
        for (i, (a, b)) in families.iter().zip(had).enumerate() {
            if a != b {
                let at = path.child("ipFamilies").index(i);
                errors.invalid(&at, spec["ipFamilies"].clone(), "may not change once set");
            }
        }
    }
    let balancer = |s: &Value| s["type"].as_str() == Some("LoadBalancer");
    if balancer(spec) && balancer(was) {
        let (class, had) = (&spec["loadBalancerClass"], &was["loadBalancerClass"]);
        if !equal(class, had) {
            errors.invalid(
                &path.child("loadBalancerClass"),
                class.clone(),
                "may not change once set",
            );
        }
        let local = |s: &Value| s["externalTrafficPolicy"].as_str() == Some("Local");
        let (port, had) = (&spec["healthCheckNodePort"], &was["healthCheckNodePort"]);
        if local(spec) && local(was) && !had.is_zero() && port != had {
            errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
        }
    }
}

/// Only balancers have addresses of balancers.
pub(super) fn status(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("status.loadBalancer.ingress");
    let points = object.list_at(&["status", "loadBalancer", "ingress"]);
    let balancer = object.at(&["spec", "type"]).as_str() == Some("LoadBalancer");
    if !points.is_empty() && !balancer {
        errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for (i, point) in points.iter().enumerate() {
        let at = path.index(i);
        if let Some(text) = point["ip"].as_str().filter(|t| !t.is_empty()) {
            ip::check(text, &at.child("ip"), errors);
            if balancer && point["ipMode"].is_null() {
                errors.required(&at.child("ipMode"), "must be specified when `ip` is set");
            }
        }
        if !point["ipMode"].is_null() {
            errors.enumeration(&at.child("ipMode"), &point["ipMode"], &["Proxy", "VIP"]);
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
