//! Containers, of all three sorts: ordinary, init and ephemeral.

use machinery::{Map, Value, name};

use super::{env, probe, resources, restart, security_context, volume};
use crate::edit::{each, fill, fill_zero, text, within};
use crate::{FieldErrors, Path};

/// Defaults of a container.
pub(crate) fn default(container: &mut Map) {
    let policy = pull_policy(text(container, "image"));
    fill_zero(container, "imagePullPolicy", policy);
    fill_zero(container, "terminationMessagePath", "/dev/termination-log");
    fill_zero(container, "terminationMessagePolicy", "File");
    each(container, "ports", |port| fill_zero(port, "protocol", "TCP"));
    each(container, "env", |env| {
        within(env, "valueFrom", |from| {
            within(from, "fieldRef", |field| fill_zero(field, "apiVersion", "v1"));
            within(from, "fileKeyRef", |file| fill(file, "optional", false));
        });
    });
    resources::default_requirements(container, "resources");
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, key, probe::default);
    }
    within(container, "lifecycle", |lifecycle| {
        for key in ["postStart", "preStop"] {
            within(lifecycle, key, |handler| {
                within(handler, "httpGet", probe::default_http_get)
            });
        }
    });
    // No pointers in Go, so they are always there.
    fill(container, "resources", Map::new());
}

/// `Always` for the tag `latest`, which an image without tag and digest has.
pub(crate) fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, ""), |(n, d)| (n, d));
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("", name),
    };
    let (path, tag) = rest.split_once(':').unwrap_or((rest, ""));
    let valid = !path.is_empty()
        && domain.bytes().all(|b| b.is_ascii_graphic())
        && path
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/._-".contains(&b))
        && !path.split('/').any(str::is_empty)
        && tag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if valid && (tag == "latest" || (tag.is_empty() && digest.is_empty())) {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// What is wrong with the containers of a pod.
pub(crate) fn validate_all(spec: &Value, volumes: &[&str], path: &Path, errors: &mut FieldErrors) {
    let (ordinary, init) = (spec.list_at(&["containers"]), spec.list_at(&["initContainers"]));
    let at = path.child("containers");
    if ordinary.is_empty() {
        errors.required(&at, "");
    }
    let grace = spec["terminationGracePeriodSeconds"].as_i64();
    let pod_policy = spec["restartPolicy"].as_str().unwrap_or_default();
    let claims = spec.list_at(&["resourceClaims"]);
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for (i, container) in spec.list_at(&[key]).iter().enumerate() {
            let at = path.child(key).index(i);
            restart::validate_resize(container, pod_policy, &at, errors);
            claim_names(container, claims, &at.child("resources.claims"), errors);
            if key != "ephemeralContainers" {
                restart::validate(container, &at, errors);
            }
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for (i, container) in ordinary.iter().enumerate() {
        let at = at.index(i);
        validate(container, volumes, &at, errors);
        unique(container, &mut names, &at, errors);
        probe::validate_lifecycle(&container["lifecycle"], grace, &at.child("lifecycle"), errors);
        probe::validate_probes(container, grace, &at, errors);
    }
    host_ports(ordinary, &at, errors);
    let at = path.child("initContainers");
    for (i, container) in init.iter().enumerate() {
        let at = at.index(i);
        validate(container, volumes, &at, errors);
        unique(container, &mut names, &at, errors);
        if container["restartPolicy"].as_str() == Some("Always") {
            probe::validate_lifecycle(&container["lifecycle"], grace, &at.child("lifecycle"), errors);
            probe::validate_probes(container, grace, &at, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if !container[field].is_null() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(&at.child(field), detail);
            }
        }
    }
    let at = path.child("ephemeralContainers");
    for (i, container) in spec.list_at(&["ephemeralContainers"]).iter().enumerate() {
        let at = at.index(i);
        validate(container, volumes, &at, errors);
        unique(container, &mut names, &at, errors);
        for field in [
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "ports",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
        ] {
            if !container[field].is_zero() {
                errors.forbidden(&at.child(field), "cannot be set for an Ephemeral Container");
            }
        }
        if !container["resources"].is_zero() {
            errors.forbidden(&at.child("resources"), "cannot be set for an Ephemeral Container");
        }
        if let Some(target) = container["targetContainerName"]
            .as_str()
            .filter(|t| !t.is_empty())
            && !ordinary
                .iter()
                .chain(init)
                .any(|c| c["name"].as_str() == Some(target))
        {
            errors.not_found(&at.child("targetContainerName"), target.to_owned());
        }
    }
}

/// Claims that a container uses are claims of its pod.
fn claim_names(container: &Value, claims: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (i, claim) in container.list_at(&["resources", "claims"]).iter().enumerate() {
        let at = path.index(i);
        let name = claim["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        if let Some(request) = claim["request"].as_str().filter(|r| !r.is_empty()) {
            errors.invalid_each(&at.child("request"), request, name::dns1123_label(request));
        }
        if !claims.iter().any(|c| c["name"] == claim["name"]) {
            let mut known: Vec<&str> = claims.iter().filter_map(|c| c["name"].as_str()).collect();
            known.sort_unstable();
            let end = if known.is_empty() {
                " which is empty".to_owned()
            } else {
                format!(": {}", known.join(", "))
            };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{end}");
            errors.not_found_because(&at, name.to_owned(), &detail);
        }
    }
}

fn unique<'a>(container: &'a Value, names: &mut Vec<&'a str>, path: &Path, errors: &mut FieldErrors) {
    let name = container["name"].as_str().unwrap_or_default();
    if names.contains(&name) {
        errors.duplicate(&path.child("name"), name.to_owned());
    } else if !name.is_empty() {
        names.push(name);
    }
}

fn host_ports(containers: &[Value], path: &Path, errors: &mut FieldErrors) {
    let mut seen = Vec::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.list_at(&["ports"]).iter().enumerate() {
            let Some(host) = port["hostPort"].as_i64().filter(|n| *n != 0) else {
                continue;
            };
            let protocol = port["protocol"].as_str().unwrap_or_default();
            let key = format!(
                "{protocol}/{}/{host}",
                port["hostIP"].as_str().unwrap_or_default()
            );
            if seen.contains(&key) {
                errors.duplicate(&path.index(i).child("ports").index(j).child("hostPort"), key);
            } else {
                seen.push(key);
            }
        }
    }
}

fn validate(container: &Value, volumes: &[&str], path: &Path, errors: &mut FieldErrors) {
    match container["name"].as_str().unwrap_or_default() {
        "" => errors.required(&path.child("name"), ""),
        text => errors.invalid_each(&path.child("name"), text, name::dns1123_label(text)),
    }
    let image = container["image"].as_str().unwrap_or_default();
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    }
    let known = ["File", "FallbackToLogsOnError"];
    let policy = &container["terminationMessagePolicy"];
    errors.enumeration(&path.child("terminationMessagePolicy"), policy, &known);
    validate_ports(container.list_at(&["ports"]), &path.child("ports"), errors);
    env::validate(container, path, errors);
    validate_mounts(container, volumes, path, errors);
    let policy = &container["imagePullPolicy"];
    errors.enumeration(
        &path.child("imagePullPolicy"),
        policy,
        &["Always", "IfNotPresent", "Never"],
    );
    resources::validate_requirements(&container["resources"], &path.child("resources"), errors);
    security_context::validate_container(
        &container["securityContext"],
        &path.child("securityContext"),
        errors,
    );
}

fn validate_ports(ports: &[Value], path: &Path, errors: &mut FieldErrors) {
    for (i, port) in ports.iter().enumerate() {
        let at = path.index(i);
        if let Some(text) = port["name"].as_str().filter(|n| !n.is_empty()) {
            let bad = name::port_name(text);
            if bad.is_empty() && ports[..i].iter().any(|p| p["name"] == port["name"]) {
                errors.duplicate(&at.child("name"), text.to_owned());
            }
            errors.invalid_each(&at.child("name"), text, bad);
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => errors.required(&at.child("containerPort"), ""),
            n => name::port_number(n)
                .iter()
                .for_each(|m| errors.invalid(&at.child("containerPort"), n, m)),
        }
        if let Some(n) = port["hostPort"].as_i64().filter(|n| *n != 0) {
            name::port_number(n)
                .iter()
                .for_each(|m| errors.invalid(&at.child("hostPort"), n, m));
        }
        errors.enumeration(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]);
    }
}

/// Read-only also below the mount.
fn read_only(mount: &Value, path: &Path, errors: &mut FieldErrors) {
    match mount["recursiveReadOnly"].as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount["readOnly"].as_bool() != Some(true) {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if mount["mountPropagation"].as_str().is_some_and(|p| p != "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(path, detail);
            }
        }
        Some(other) => errors.not_supported(path, other.to_owned(), &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn validate_mounts(container: &Value, volumes: &[&str], path: &Path, errors: &mut FieldErrors) {
    let (mounts, devices) = (
        container.list_at(&["volumeMounts"]),
        container.list_at(&["volumeDevices"]),
    );
    for (i, mount) in mounts.iter().enumerate() {
        let at = path.child("volumeMounts").index(i);
        let of = |field: &str| mount[field].as_str().unwrap_or_default();
        if of("name").is_empty() {
            errors.required(&at.child("name"), "");
        }
        if !volumes.contains(&of("name")) {
            errors.not_found(&at.child("name"), of("name").to_owned());
        }
        if of("mountPath").is_empty() {
            errors.required(&at.child("mountPath"), "");
        }
        if mounts[..i].iter().any(|m| m["mountPath"] == mount["mountPath"]) {
            errors.invalid(
                &at.child("mountPath"),
                of("mountPath").to_owned(),
                "must be unique",
            );
        }
        if devices.iter().any(|d| d["name"] == mount["name"]) {
            let detail = "must not already exist in volumeDevices";
            errors.invalid(&at.child("name"), of("name").to_owned(), detail);
        }
        // As upstream, the path of these lacks the index.
        let list = path.child("volumeMounts");
        volume::descending_path(of("subPath"), &list.child("subPath"), errors);
        if !of("subPathExpr").is_empty() {
            if !of("subPath").is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&at.child("subPathExpr"), of("subPathExpr").to_owned(), detail);
            }
            volume::descending_path(of("subPathExpr"), &list.child("subPathExpr"), errors);
        }
        read_only(mount, &list.child("recursiveReadOnly"), errors);
        let propagation = &mount["mountPropagation"];
        if !propagation.is_null() {
            let known = ["Bidirectional", "HostToContainer", "None"];
            errors.enumeration(&list.child("mountPropagation"), propagation, &known);
            let privileged = container.at(&["securityContext", "privileged"]).as_bool() == Some(true);
            if propagation.as_str() == Some("Bidirectional") && !privileged {
                let detail = "Bidirectional mount propagation is available only to privileged containers";
                errors.forbidden(&list.child("mountPropagation"), detail);
            }
        }
    }
    for (i, device) in devices.iter().enumerate() {
        let at = path.child("volumeDevices").index(i);
        let of = |field: &str| device[field].as_str().unwrap_or_default();
        if of("name").is_empty() {
            errors.required(&at.child("name"), "");
        }
        if of("devicePath").is_empty() {
            errors.required(&at.child("devicePath"), "");
        }
        if mounts.iter().any(|m| m["name"] == device["name"]) {
            let detail = "must not already exist in volumeMounts";
            errors.invalid(&at.child("name"), of("name").to_owned(), detail);
        }
        if devices[..i]
            .iter()
            .any(|d| d["devicePath"] == device["devicePath"])
        {
            errors.invalid(
                &at.child("devicePath"),
                of("devicePath").to_owned(),
                "must be unique",
            );
        }
        if !volumes.contains(&of("name")) {
            errors.not_found(&at.child("name"), of("name").to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, expect) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("reg.example:5000/a/b", "Always"),
            ("reg.example:5000/a/b:1", "IfNotPresent"),
            ("a@sha256:0123", "IfNotPresent"),
            ("Bad Name", "IfNotPresent"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), expect, "{image}");
        }
    }
}
