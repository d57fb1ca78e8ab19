//! Kinds of the group `resource.k8s.io`.

pub(crate) mod claim;
pub(crate) mod claim_template;
pub(crate) mod device_class;
pub(crate) mod pool_status;
pub(crate) mod slice;
pub(crate) mod taint_rule;

use machinery::{Map, Value};

use crate::edit::{each, fill_zero, lacks, text, within};
use crate::{FieldErrors, Path};

/// Defaults of a claim's spec.
pub(crate) fn default_claim_spec(spec: &mut Map) {
    within(spec, "devices", |devices| {
        each(devices, "requests", |request| {
            within(request, "exactly", default_request);
            each(request, "firstAvailable", default_request);
        });
    });
}

fn default_request(request: &mut Map) {
    fill_zero(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" && lacks(request, "count") {
        request.insert("count", 1);
    }
    each(request, "tolerations", |toleration| {
        fill_zero(toleration, "operator", "Equal")
    });
}

/// What is wrong with a claim's spec.
pub(crate) fn validate_claim_spec(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let requests = spec.list_at(&["devices", "requests"]);
    let path = path.child("devices.requests");
    if requests.len() > 32 {
        errors.too_many(&path, requests.len(), 32);
    }
    for (i, request) in requests.iter().enumerate() {
        let at = path.index(i);
        let name = request["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else {
            errors.invalid_each(&at.child("name"), name, machinery::name::dns1123_label(name));
        }
        if requests[..i].iter().any(|r| r["name"] == request["name"]) {
            errors.duplicate(&at, name.to_owned());
        }
        match (request["exactly"].is_null(), request["firstAvailable"].is_zero()) {
            (true, true) => errors.required(&at, "exactly one of `exactly` or `firstAvailable` is required"),
            (false, false) => {
                let detail =
                    "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
                errors.invalid_omitted(&at, detail);
            }
            (false, true) => validate_request(&request["exactly"], &at.child("exactly"), errors),
            (true, false) => {
                for (j, sub) in request.list_at(&["firstAvailable"]).iter().enumerate() {
                    validate_request(sub, &at.child("firstAvailable").index(j), errors);
                }
            }
        }
    }
}

fn validate_request(request: &Value, path: &Path, errors: &mut FieldErrors) {
    match request["deviceClassName"].as_str().unwrap_or_default() {
        "" => errors.required(&path.child("deviceClassName"), ""),
        text => {
            errors.invalid_each(
                &path.child("deviceClassName"),
                text,
                machinery::name::dns1123_subdomain(text),
            );
        }
    }
    let mode = &request["allocationMode"];
    errors.enumeration(&path.child("allocationMode"), mode, &["All", "ExactCount"]);
    let count = request["count"].as_i64().unwrap_or(0);
    match mode.as_str() {
        Some("ExactCount") if count <= 0 => {
            errors.invalid(&path.child("count"), count, "must be greater than zero");
        }
        Some("All") if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.invalid(&path.child("count"), count, detail);
        }
        _ => {}
    }
}
