//! CertificateSigningRequest.
//!
//! Who asks (`spec.username` and its kin) is set by the API server, which knows the user; rules do not.

use machinery::{Map, Value, name};

use crate::edit::{each, lacks};
use crate::table::{AGE, NAME, age, cell, human_duration, name as name_cell, or_none, text};
use crate::{Column, Cx, FieldErrors, Names, Path, Rules, strategy};

/// Rules of signing requests.
pub(crate) struct SigningRequest;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

impl Rules for SigningRequest {
    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::keep(new, old, "spec");
        match cx.subresource {
            "" => strategy::keep(new, old, "status"),
            "approval" => {
                stamp_conditions(new, old, cx);
                let conditions = new.at(&["status", "conditions"]).clone();
                strategy::keep(new, old, "status");
                strategy::put(new.at_mut(&["status"]), "conditions", conditions);
            }
            _ => {
                keep_decisions(new, old);
                stamp_conditions(new, old, cx);
            }
        }
        let generation = old.at(&["metadata", "generation"]).clone();
        strategy::put(new.at_mut(&["metadata"]), "generation", generation);
    }

    fn names(&self, _cx: &Cx<'_>) -> Names {
        Names::Subdomain
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if spec["request"].is_zero() {
            errors.invalid(
                &path.child("request"),
                "",
                "PEM block type must be CERTIFICATE REQUEST",
            );
        }
        let (usages, at) = (spec.list_at(&["usages"]), path.child("usages"));
        if usages.is_empty() {
            errors.required(&at, "");
        }
        for (i, usage) in usages.iter().enumerate() {
            errors.enumeration(&at.index(i), usage, &USAGES);
            if usages[..i].contains(usage) {
                errors.duplicate(&at.index(i), usage.clone());
            }
        }
        signer_name(&spec["signerName"], &path.child("signerName"), errors);
        if spec["signerName"].as_str() == Some("kubernetes.io/legacy-unknown") {
            let detail = "the legacy signerName is not allowed via this API version";
            errors.invalid(&path.child("signerName"), "kubernetes.io/legacy-unknown", detail);
        }
        if let Some(n) = spec["expirationSeconds"].as_i64().filter(|n| *n < 600) {
            errors.invalid(
                &path.child("expirationSeconds"),
                n,
                "may not specify a duration less than 600 seconds (10 minutes)",
            );
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let path = Path::new("status.conditions");
        let conditions = new.list_at(&["status", "conditions"]);
        let has = |o: &Value, kind: &str| {
            o.list_at(&["status", "conditions"])
                .iter()
                .any(|c| c["type"].as_str() == Some(kind))
        };
        for (i, condition) in conditions.iter().enumerate() {
            let at = path.index(i);
            let kind = condition["type"].as_str().unwrap_or_default();
            if kind.is_empty() {
                errors.required(&at.child("type"), "");
            }
            let status = condition["status"].as_str().unwrap_or_default();
            match status {
                "" => errors.required(&at.child("status"), ""),
                "True" => {}
                "False" | "Unknown" if !matches!(kind, "Approved" | "Denied" | "Failed") => {}
                _ => errors.not_supported(&at.child("status"), status.to_owned(), &["True"]),
            }
            if conditions[..i].iter().any(|c| c["type"] == condition["type"]) {
                errors.duplicate(&at.child("type"), kind.to_owned());
            }
        }
        if has(new, "Approved") && has(new, "Denied") {
            let detail = "Approved and Denied conditions are mutually exclusive";
            let at = conditions
                .iter()
                .position(|c| c["type"].as_str() == Some("Denied"))
                .unwrap_or(0);
            errors.invalid(&path.index(at).child("type"), "Denied", detail);
        }
        for kind in ["Approved", "Denied", "Failed"] {
            if has(old, kind) && !has(new, kind) {
                let detail = format!("updates may not remove a condition of type {kind:?}");
                errors.forbidden(&path, &detail);
            } else if cx.subresource != "approval" && kind != "Failed" && !has(old, kind) && has(new, kind) {
                let detail = format!("updates may not add a condition of type {kind:?}");
                errors.forbidden(&path, &detail);
            }
        }
        let certificate = |o: &Value| o.at(&["status", "certificate"]).clone();
        if !certificate(old).is_zero() && certificate(new) != certificate(old) {
            errors.forbidden(
                &Path::new("status.certificate"),
                "updates may not modify a set certificate",
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                AGE,
                text("SignerName"),
                text("Requestor"),
                text("RequestedDuration"),
                text("Condition"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let duration = spec["expirationSeconds"]
            .as_i64()
            .map_or("<none>".to_owned(), human_duration);
        vec![
            name_cell(object),
            age(object, cx),
            or_none(spec["signerName"].as_str().unwrap_or_default()),
            cell(&spec["username"]),
            duration.into(),
            state(object).into(),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "spec.signerName",
            object
                .str_at(&["spec", "signerName"])
                .unwrap_or_default()
                .to_owned(),
        )]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
}

/// `domain/path`, where the domain has a dot.
fn signer_name(value: &Value, path: &Path, errors: &mut FieldErrors) {
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() {
        errors.required(path, "");
        return;
    }
    match text.split('/').collect::<Vec<_>>()[..] {
        [domain, rest] => {
            errors.invalid_each(path, text, name::dns1123_subdomain(domain));
            if !domain.contains('.') {
                errors.invalid(
                    path,
                    text.to_owned(),
                    "should be a domain with at least two segments separated by dots",
                );
            }
            errors.invalid_each(path, text, name::dns1123_subdomain(rest));
        }
        _ => {
            let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
            errors.invalid(path, text.to_owned(), detail);
        }
    }
}

/// Only the approval sub-resource decides.
fn keep_decisions(new: &mut Value, old: &Value) {
    let decided = |c: &&Value| matches!(c["type"].as_str(), Some("Approved" | "Denied"));
    let kept: Vec<Value> = old
        .list_at(&["status", "conditions"])
        .iter()
        .filter(decided)
        .cloned()
        .collect();
    let others = new
        .list_at(&["status", "conditions"])
        .iter()
        .filter(|c| !decided(c))
        .cloned();
    let all: Vec<Value> = kept.into_iter().chain(others).collect();
    if !all.is_empty() {
        new.at_mut(&["status"]).insert("conditions", all);
    }
}

/// Fills in the times of conditions that have none.
fn stamp_conditions(new: &mut Value, old: &Value, cx: &Cx<'_>) {
    let now = crate::now(cx);
    let before = old.list_at(&["status", "conditions"]).to_vec();
    each(new.at_mut(&["status"]), "conditions", |condition: &mut Map| {
        if lacks(condition, "lastUpdateTime") {
            condition.insert("lastUpdateTime", now.clone());
        }
        let same = before.iter().find(|c| c.get("type") == condition.get("type"));
        let kept = same
            .filter(|c| c.get("status") == condition.get("status"))
            .map(|c| c["lastTransitionTime"].clone());
        match kept.filter(|t| !t.is_null()) {
            Some(time) => {
                condition.insert("lastTransitionTime", time);
            }
            None if lacks(condition, "lastTransitionTime") || same.is_some() => {
                condition.insert("lastTransitionTime", now.clone());
            }
            None => {}
        }
    });
}

fn state(object: &Value) -> String {
    let has = |kind: &str| {
        object
            .list_at(&["status", "conditions"])
            .iter()
            .any(|c| c["type"].as_str() == Some(kind))
    };
    let mut text = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !object.at(&["status", "certificate"]).is_zero() {
        text.push_str(",Issued");
    }
    text
}
