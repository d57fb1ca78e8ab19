//! ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding.

use machinery::{Value, quote::go_json};

use super::{default_match, validate_match};
use crate::edit::within;
use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::types::label_selector;
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of bindings of policies.
pub(crate) struct PolicyBinding;

impl Rules for PolicyBinding {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        within(object.at_mut(&["spec"]), "matchResources", default_match);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        match spec["policyName"].as_str().unwrap_or_default() {
            "" => errors.required(&path.child("policyName"), ""),
            text => errors.invalid_each(
                &path.child("policyName"),
                text,
                machinery::name::dns1123_subdomain(text),
            ),
        }
        let (param, at) = (&spec["paramRef"], path.child("paramRef"));
        if !param.is_null() {
            match (param["name"].is_zero(), param["selector"].is_null()) {
                (true, true) => errors.required(&at, "one of name or selector must be specified"),
                (false, false) => {
                    let detail = "name and selector are mutually exclusive";
                    errors.forbidden(&at.child("name"), detail);
                    errors.forbidden(&at.child("selector"), detail);
                }
                _ => {}
            }
            label_selector::validate(&param["selector"], &at.child("selector"), errors);
            let action = &param["parameterNotFoundAction"];
            errors.enumeration(&at.child("parameterNotFoundAction"), action, &["Deny", "Allow"]);
        }
        if !spec["matchResources"].is_null() {
            validate_match(&spec["matchResources"], &path.child("matchResources"), errors);
        }
        if cx.resource.kind == "ValidatingAdmissionPolicyBinding" {
            let (actions, at) = (
                spec.list_at(&["validationActions"]),
                path.child("validationActions"),
            );
            if actions.is_empty() {
                errors.required(&at, "at least one validation action is required");
            }
            for (i, action) in actions.iter().enumerate() {
                errors.enumeration(&at.index(i), action, &["Audit", "Deny", "Warn"]);
                if actions[..i].contains(action) {
                    errors.duplicate(&at.index(i), action.clone());
                }
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("PolicyName"), text("ParamRef"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let param = &spec["paramRef"];
        let of = |field: &str| param[field].as_str().unwrap_or_default();
        let shown = match (of("name"), of("namespace")) {
            ("", _) if param["selector"].is_null() => "<unset>".to_owned(),
            ("", _) => go_json(&param["selector"]),
            (name, "") => format!("*/{name}"),
            (name, namespace) => format!("{namespace}/{name}"),
        };
        vec![
            name_cell(object),
            cell(&spec["policyName"]),
            shown.into(),
            age(object, cx),
        ]
    }
}
