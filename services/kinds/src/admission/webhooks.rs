//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration.

use machinery::{Value, name};

use super::{default_match, validate_match};
use crate::edit::{each, fill, within};
use crate::table::{AGE, NAME, age, name as name_cell, number};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of webhook configurations; a mutating webhook may be called again.
pub(crate) struct Webhooks {
    mutating: bool,
}

/// Rules of mutating webhooks.
pub(crate) static MUTATING: Webhooks = Webhooks { mutating: true };
/// Rules of validating webhooks.
pub(crate) static VALIDATING: Webhooks = Webhooks { mutating: false };

impl Rules for Webhooks {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        each(object.at_mut(&[]), "webhooks", |hook| {
            fill(hook, "failurePolicy", "Fail");
            default_match(hook);
            fill(hook, "timeoutSeconds", 10);
            if self.mutating {
                fill(hook, "reinvocationPolicy", "Never");
            }
            within(hook, "clientConfig", |client| {
                within(client, "service", |service| fill(service, "port", 443));
            });
        });
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let hooks = object.list_at(&["webhooks"]);
        for (i, hook) in hooks.iter().enumerate() {
            let path = Path::new("webhooks").index(i);
            let at = path.child("name");
            let text = hook["name"].as_str().unwrap_or_default();
            if text.is_empty() {
                errors.required(&at, "");
            } else {
                let bad = name::dns1123_subdomain(text);
                if bad.is_empty() && text.split('.').count() < 3 {
                    let detail = "should be a domain with at least three segments separated by dots";
                    errors.invalid(&at, text.to_owned(), detail);
                }
                errors.invalid_each(&at, text, bad);
                if hooks[..i].iter().any(|h| h["name"] == hook["name"]) {
                    errors.duplicate(&at, text.to_owned());
                }
            }
            self.validate_hook(hook, &path, errors);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, number("Webhooks"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let count = object.list_at(&["webhooks"]).len() as i64;
        vec![name_cell(object), count.into(), age(object, cx)]
    }
}

impl Webhooks {
    fn validate_hook(&self, hook: &Value, path: &Path, errors: &mut FieldErrors) {
        if !hook["failurePolicy"].is_null() {
            errors.enumeration(
                &path.child("failurePolicy"),
                &hook["failurePolicy"],
                &["Fail", "Ignore"],
            );
        }
        if self.mutating && !hook["reinvocationPolicy"].is_null() {
            let known = ["IfNeeded", "Never"];
            errors.enumeration(
                &path.child("reinvocationPolicy"),
                &hook["reinvocationPolicy"],
                &known,
            );
        }
        validate_match(hook, path, errors);
        let at = path.child("timeoutSeconds");
        if let Some(n) = hook["timeoutSeconds"].as_i64()
            && !(1..=30).contains(&n)
        {
            errors.invalid(&at, n, "the timeout value must be between 1 and 30 seconds");
        }
        let at = path.child("sideEffects");
        match hook["sideEffects"].as_str() {
            None => errors.required(&at, "must specify one of None, NoneOnDryRun"),
            Some("None" | "NoneOnDryRun") => {}
            Some(other) => errors.not_supported(&at, other.to_owned(), &["None", "NoneOnDryRun"]),
        }
        let at = path.child("admissionReviewVersions");
        let versions = hook.list_at(&["admissionReviewVersions"]);
        if versions.is_empty() {
            errors.required(&at, "must specify one of v1, v1beta1");
        } else if !versions
            .iter()
            .any(|v| matches!(v.as_str(), Some("v1" | "v1beta1")))
        {
            let shown = hook["admissionReviewVersions"].clone();
            errors.invalid(&at, shown, "must include at least one of v1, v1beta1");
        }
        validate_client(&hook["clientConfig"], &path.child("clientConfig"), errors);
    }
}

/// Where a webhook is: a URL or a service, one of them.
fn validate_client(client: &Value, path: &Path, errors: &mut FieldErrors) {
    let (url, service) = (&client["url"], &client["service"]);
    match (url.as_str(), service.is_null()) {
        (None, true) | (Some(_), false) => {
            errors.required(path, "exactly one of url or service is required");
        }
        (Some(text), true) => {
            if !text.starts_with("https://") {
                let scheme = text.split("://").next().unwrap_or_default().to_owned();
                let detail = "'https' is the only allowed URL scheme; desired format: https://host[/path]";
                errors.invalid(&path.child("url"), scheme, detail);
            } else if text.len() == "https://".len() {
                let detail = "host must be specified; desired format: https://host[/path]";
                errors.invalid(&path.child("url"), "", detail);
            }
        }
        (None, false) => {
            let path = path.child("service");
            for field in ["name", "namespace"] {
                if service[field].is_zero() {
                    errors.required(&path.child(field), &format!("service {field} is required"));
                }
            }
            let port = service["port"].as_i64().unwrap_or(443);
            if !(1..=65535).contains(&port) {
                let detail = format!("port is not valid: {}", name::range_message(1, 65535));
                errors.invalid(&path.child("port"), port, &detail);
            }
            if let Some(text) = service["path"].as_str()
                && !text.starts_with('/')
            {
                errors.invalid(&path.child("path"), text.to_owned(), "must start with a '/'");
                if !text.contains('/') {
                    errors.invalid(
                        &path.child("path"),
                        text.to_owned(),
                        "segment[0] may not be empty",
                    );
                }
            }
        }
    }
}
