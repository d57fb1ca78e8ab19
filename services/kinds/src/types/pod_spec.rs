//! `PodSpec`, which eight kinds share.

use machinery::{Map, Value, name};

use super::{container, resources, scheduling, security_context, volume};
use crate::edit::{each, fill, fill_zero, lacks, text, within};
use crate::{FieldErrors, Path, ip, metadata};

/// Defaults of a pod's spec, in pods and in templates.
pub(crate) fn default(spec: &mut Map) {
    fill_zero(spec, "dnsPolicy", "ClusterFirst");
    fill_zero(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", Map::new());
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill_zero(spec, "schedulerName", "default-scheduler");
    each(spec, "volumes", volume::default);
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, key, container::default);
    }
    within(spec, "overhead", resources::default_list);
    resources::default_requirements(spec, "resources");
    sync_service_account(spec);
}

/// `serviceAccount` is the old name of `serviceAccountName`: both are always the same, and the new name wins.
pub(crate) fn sync_service_account(spec: &mut Map) {
    let name = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount"),
        name => name,
    }
    .to_owned();
    if name.is_empty() {
        spec.remove("serviceAccountName");
        spec.remove("serviceAccount");
    } else {
        spec.insert("serviceAccountName", name.clone());
        spec.insert("serviceAccount", name);
    }
}

/// Defaults that only pods have, not templates.
pub(crate) fn default_of_pod(spec: &mut Map) {
    for key in ["containers", "initContainers"] {
        each(spec, key, resources::requests_from_limits);
    }
    fill(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(|v| v.as_bool()) == Some(true) {
        for key in ["containers", "initContainers"] {
            each(spec, key, |container| {
                each(container, "ports", |port| {
                    if lacks(port, "hostPort")
                        && let Some(n) = port.get("containerPort").cloned()
                    {
                        port.insert("hostPort", n);
                    }
                });
            });
        }
    }
}

/// What is wrong with a pod's spec, in pods and in templates.
pub(crate) fn validate(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if spec["terminationGracePeriodSeconds"].is_null() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volume::validate_all(spec.list_at(&["volumes"]), &path.child("volumes"), errors);
    container::validate_all(spec, &volumes, path, errors);
    let at = path.child("restartPolicy");
    errors.enumeration(&at, &spec["restartPolicy"], &["Always", "OnFailure", "Never"]);
    let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.enumeration(&path.child("dnsPolicy"), &spec["dnsPolicy"], &known);
    metadata::validate_labels(&spec["nodeSelector"], &path.child("nodeSelector"), errors);
    security_context::validate_pod(&spec["securityContext"], &path.child("securityContext"), errors);
    scheduling::affinity(&spec["affinity"], &path.child("affinity"), errors);
    dns(spec, path, errors);
    for (i, gate) in spec.list_at(&["readinessGates"]).iter().enumerate() {
        let text = gate["conditionType"].as_str().unwrap_or_default();
        let at = path.child("readinessGates").index(i).child("conditionType");
        errors.invalid_each(&at, text, name::qualified_name(text));
    }
    let gates = spec.list_at(&["schedulingGates"]);
    for (i, gate) in gates.iter().enumerate() {
        let text = gate["name"].as_str().unwrap_or_default();
        let at = path.child("schedulingGates").index(i);
        errors.invalid_each(&at, text, name::qualified_name(text));
        if gates[..i].iter().any(|g| g["name"] == gate["name"]) {
            errors.duplicate(&at, text.to_owned());
        }
    }
    let constraints = spec.list_at(&["topologySpreadConstraints"]);
    scheduling::spread(constraints, &path.child("topologySpreadConstraints"), errors);
    names(spec, path, errors);
    claims(spec, path, errors);
    if spec["hostPID"].as_bool() == Some(true) && spec["shareProcessNamespace"].as_bool() == Some(true) {
        let at = path.child("securityContext.shareProcessNamespace");
        errors.invalid(
            &at,
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    let whole = &spec["resources"];
    if !whole.is_null() {
        let at = path.child("resources");
        if !whole["claims"].is_zero() {
            errors.forbidden(
                &at.child("claims"),
                "claims may not be set for Resources at pod-level",
            );
        }
        resources::validate_requirements(whole, &at, errors);
    }
    if let Some(n) = spec["activeDeadlineSeconds"].as_i64() {
        for message in name::in_range(n, 1, i64::from(i32::MAX)) {
            errors.invalid(&path.child("activeDeadlineSeconds"), n, &message);
        }
    }
    scheduling::tolerations(spec.list_at(&["tolerations"]), &path.child("tolerations"), errors);
    for (i, alias) in spec.list_at(&["hostAliases"]).iter().enumerate() {
        let at = path.child("hostAliases").index(i);
        ip::check(alias["ip"].as_str().unwrap_or_default(), &at.child("ip"), errors);
        for (j, host) in alias
            .list_at(&["hostnames"])
            .iter()
            .filter_map(Value::as_str)
            .enumerate()
        {
            errors.invalid_each(
                &at.child("hostnames").index(j),
                host,
                name::dns1123_subdomain(host),
            );
        }
    }
    if !spec["preemptionPolicy"].is_null() {
        let known = ["PreemptLowerPriority", "Never"];
        errors.enumeration(&path.child("preemptionPolicy"), &spec["preemptionPolicy"], &known);
    }
    for (resource, amount) in spec["overhead"].as_map().into_iter().flat_map(Map::iter) {
        let at = path.child("overhead.limits").key(resource);
        resources::check_name(resource, &at, errors);
        resources::check_amount(resource, amount, &at, errors);
    }
    if let Some(os) = spec["os"].as_map() {
        let name = os.get("name").cloned().unwrap_or_default();
        errors.enumeration(&path.child("os"), &name, &["linux", "windows"]);
    }
    if spec["hostNetwork"].as_bool() == Some(true) {
        host_network(spec, path, errors);
    }
}

/// On the host's network a container's port is the host's.
fn host_network(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    for (i, container) in spec.list_at(&["containers"]).iter().enumerate() {
        for (j, port) in container.list_at(&["ports"]).iter().enumerate() {
            let (host, inner) = (
                port["hostPort"].as_i64().unwrap_or(0),
                port["containerPort"].as_i64().unwrap_or(0),
            );
            if host != 0 && host != inner {
                let at = path
                    .child("containers")
                    .index(i)
                    .child("ports")
                    .index(j)
                    .child("hostPort");
                errors.invalid(&at, host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

/// Claims of devices: each has one source.
fn claims(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let claims = spec.list_at(&["resourceClaims"]);
    for (i, claim) in claims.iter().enumerate() {
        let at = path.child("resourceClaims").index(i);
        match claim["name"].as_str().unwrap_or_default() {
            "" => errors.required(&at.child("name"), ""),
            text if claims[..i].iter().any(|c| c["name"] == claim["name"]) => {
                errors.duplicate(&at.child("name"), text.to_owned());
            }
            text => errors.invalid_each(&at.child("name"), text, name::dns1123_label(text)),
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        match sources.iter().filter(|s| !claim[**s].is_null()).count() {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&at, claim.clone(), detail);
            }
            1 => {}
            _ => {
                let detail =
                    "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&at, claim.clone(), detail);
            }
        }
        for source in sources {
            if let Some(text) = claim[source].as_str() {
                errors.invalid_each(&at.child(source), text, name::dns1123_subdomain(text));
            }
        }
    }
}

fn names(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(text) = spec["hostnameOverride"].as_str() {
        let at = path.child("hostnameOverride");
        for field in ["setHostnameAsFQDN", "hostNetwork"] {
            if spec[field].as_bool() == Some(true) {
                errors.forbidden(&at, &format!("may not be specified when {field} is true"));
            }
        }
        if text.len() > 64 {
            errors.too_long(&at, 64);
        }
        errors.invalid_each(&at, text, name::dns1123_subdomain(text));
    }
    type Check = fn(&str) -> Vec<String>;
    let checks: [(&str, Check); 6] = [
        ("serviceAccountName", name::dns1123_subdomain),
        ("nodeName", name::dns1123_subdomain),
        ("hostname", name::dns1123_label),
        ("subdomain", name::dns1123_label),
        ("priorityClassName", name::dns1123_subdomain),
        ("runtimeClassName", name::dns1123_subdomain),
    ];
    for (field, check) in checks {
        if let Some(text) = spec[field].as_str().filter(|t| !t.is_empty()) {
            errors.invalid_each(&path.child(field), text, check(text));
        }
    }
}

fn dns(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (config, at) = (&spec["dnsConfig"], path.child("dnsConfig"));
    let servers = config.list_at(&["nameservers"]);
    if spec["dnsPolicy"].as_str() == Some("None") {
        if config.is_null() {
            errors.required(&at, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&at.child("nameservers"), detail);
            return;
        }
    }
    if servers.len() > 3 {
        errors.invalid(
            &at.child("nameservers"),
            config["nameservers"].clone(),
            "must not have more than 3 nameservers",
        );
    }
    for (i, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        ip::check(server, &at.child("nameservers").index(i), errors);
    }
    let searches = config.list_at(&["searches"]);
    if searches.len() > 32 {
        errors.invalid(
            &at.child("searches"),
            config["searches"].clone(),
            "must not have more than 32 search paths",
        );
    }
    for (i, search) in searches.iter().filter_map(Value::as_str).enumerate() {
        if search != "." {
            let text = search.strip_suffix('.').unwrap_or(search);
            errors.invalid_each(
                &at.child("searches").index(i),
                text,
                name::dns1123_subdomain_underscore(text),
            );
        }
    }
    for (i, option) in config.list_at(&["options"]).iter().enumerate() {
        if option["name"].is_zero() {
            errors.required(&at.child("options").index(i), "must not be empty");
        }
    }
}
