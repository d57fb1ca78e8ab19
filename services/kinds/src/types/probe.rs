//! Probes and lifecycle handlers.

use machinery::{Map, Value, name};

use crate::core::service::port_or_name;
use crate::edit::{fill, fill_zero, within};
use crate::{FieldErrors, Path};

/// Defaults of a probe.
pub(crate) fn default(probe: &mut Map) {
    within(probe, "httpGet", default_http_get);
    within(probe, "grpc", |grpc| fill(grpc, "service", ""));
    fill_zero(probe, "timeoutSeconds", 1);
    fill_zero(probe, "periodSeconds", 10);
    fill_zero(probe, "successThreshold", 1);
    fill_zero(probe, "failureThreshold", 3);
}

/// Defaults of an HTTP request.
pub(crate) fn default_http_get(action: &mut Map) {
    fill_zero(action, "path", "/");
    fill_zero(action, "scheme", "HTTP");
}

/// What is wrong with a container's probes.
pub(crate) fn validate_probes(container: &Value, grace: Option<i64>, path: &Path, errors: &mut FieldErrors) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let (probe, at) = (&container[kind], path.child(kind));
        if probe.is_null() {
            continue;
        }
        handler(probe, grace, &at, errors);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            errors.nonnegative(&at.child(field), &probe[field]);
        }
        let own = probe["terminationGracePeriodSeconds"].as_i64();
        if let Some(n) = own.filter(|n| *n <= 0) {
            errors.invalid(
                &at.child("terminationGracePeriodSeconds"),
                n,
                "must be greater than 0",
            );
        }
        if kind == "readinessProbe" {
            if let Some(n) = own {
                let detail = "must not be set for readinessProbes";
                errors.invalid(&at.child("terminationGracePeriodSeconds"), n, detail);
            }
        } else if let Some(n) = probe["successThreshold"].as_i64().filter(|n| *n != 1) {
            errors.invalid(&at.child("successThreshold"), n, "must be 1");
        }
    }
}

/// What is wrong with what a container does after its start and before its end.
pub(crate) fn validate_lifecycle(
    lifecycle: &Value,
    grace: Option<i64>,
    path: &Path,
    errors: &mut FieldErrors,
) {
    for kind in ["postStart", "preStop"] {
        if !lifecycle[kind].is_null() {
            handler(&lifecycle[kind], grace, &path.child(kind), errors);
        }
    }
}

/// Exactly one way to act.
fn handler(holder: &Value, grace: Option<i64>, path: &Path, errors: &mut FieldErrors) {
    let ways = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
    let given: Vec<&str> = ways.into_iter().filter(|w| !holder[*w].is_null()).collect();
    for (i, way) in given.iter().enumerate() {
        let (action, at) = (&holder[*way], path.child(way));
        if i > 0 {
            errors.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        match *way {
            "exec" if action["command"].is_zero() => errors.required(&at.child("command"), ""),
            "httpGet" => http_get(action, &at, errors),
            "tcpSocket" => port_or_name(&action["port"], &at.child("port"), errors),
            "grpc" => {
                let port = action["port"].as_i64().unwrap_or(0);
                port_or_name(&Value::Int(port), &at.child("port"), errors);
            }
            "sleep" => {
                let seconds = action["seconds"].as_i64().unwrap_or(0);
                if let Some(grace) = grace.filter(|g| seconds < 0 || seconds > *g) {
                    let detail =
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.invalid(&at, seconds, &detail);
                }
            }
            _ => {}
        }
    }
    if given.is_empty() {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path, errors: &mut FieldErrors) {
    if action["path"].is_zero() {
        errors.required(&path.child("path"), "");
    }
    port_or_name(&action["port"], &path.child("port"), errors);
    let scheme = action["scheme"].as_str().unwrap_or_default();
    if !matches!(scheme, "HTTP" | "HTTPS") {
        errors.not_supported(&path.child("scheme"), scheme.to_owned(), &["HTTP", "HTTPS"]);
    }
    for header in action.list_at(&["httpHeaders"]) {
        let text = header["name"].as_str().unwrap_or_default();
        errors.invalid_each(&path.child("httpHeaders"), text, name::http_header_name(text));
    }
}
