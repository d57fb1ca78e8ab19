//! IngressClass.

use machinery::{Value, name};

use crate::edit::{fill, within};
use crate::table::{AGE, NAME, age, cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of ingress classes.
pub(crate) struct IngressClass;

impl Rules for IngressClass {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        within(object.at_mut(&["spec"]), "parameters", |p| {
            fill(p, "scope", "Cluster")
        });
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let path = Path::new("spec");
        let at = path.child("controller");
        let controller = object.str_at(&["spec", "controller"]).unwrap_or_default();
        if controller.len() > 250 {
            errors.too_long(&at, 250);
        }
        match controller.split_once('/') {
            _ if controller.is_empty() => errors.required(&at, ""),
            Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
                errors.invalid_each(&at, domain, name::dns1123_subdomain(domain));
            }
            _ => {
                let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                errors.invalid(&at, controller.to_owned(), detail);
            }
        }
        let (parameters, at) = (object.at(&["spec", "parameters"]), path.child("parameters"));
        if parameters.is_null() {
            return;
        }
        for field in ["kind", "name"] {
            if parameters[field].is_zero() {
                errors.required(&at.child(field), "");
            }
        }
        let namespace = &parameters["namespace"];
        match parameters["scope"].as_str() {
            None => errors.required(&at.child("scope"), ""),
            Some("Namespace") => {
                if namespace.is_zero() {
                    let detail = "`parameters.scope` is set to 'Namespace'";
                    errors.required(&at.child("namespace"), detail);
                }
            }
            Some("Cluster") => {
                if !namespace.is_null() {
                    let detail = "`parameters.scope` is set to 'Cluster'";
                    errors.forbidden(&at.child("namespace"), detail);
                }
            }
            Some(other) => {
                errors.not_supported(&at.child("scope"), other.to_owned(), &["Cluster", "Namespace"]);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let path = ["spec", "controller"];
        errors.immutable(&Path::new("spec.controller"), new.at(&path), old.at(&path));
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Controller"), text("Parameters"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let mut name = object
            .str_at(&["metadata", "name"])
            .unwrap_or_default()
            .to_owned();
        let annotation =
            &object.at(&["metadata", "annotations"])["ingressclass.kubernetes.io/is-default-class"];
        if annotation.as_str() == Some("true") {
            name.push_str(" (default)");
        }
        let parameters = object.at(&["spec", "parameters"]);
        let of = |field: &str| parameters[field].as_str().unwrap_or_default();
        let shown = match parameters["apiGroup"].as_str() {
            _ if parameters.is_null() => "<none>".to_owned(),
            Some(group) => format!("{}.{group}/{}", of("kind"), of("name")),
            None => format!("{}/{}", of("kind"), of("name")),
        };
        vec![
            name.into(),
            cell(object.at(&["spec", "controller"])),
            shown.into(),
            age(object, cx),
        ]
    }
}
