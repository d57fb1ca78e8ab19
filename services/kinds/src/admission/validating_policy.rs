//! ValidatingAdmissionPolicy.

use machinery::{Map, Value};

use super::{default_match, validate_match};
use crate::edit::{fill, within};
use crate::table::{AGE, NAME, age, name as name_cell, number, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of validating admission policies.
pub(crate) struct ValidatingPolicy;

/// Defaults that both sorts of policies share.
pub(super) fn default_spec(spec: &mut Map) {
    fill(spec, "failurePolicy", "Fail");
    within(spec, "matchConstraints", default_match);
}

/// What is wrong with the parts that both sorts of policies share.
pub(super) fn validate_spec(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    if !spec["failurePolicy"].is_null() {
        errors.enumeration(
            &path.child("failurePolicy"),
            &spec["failurePolicy"],
            &["Fail", "Ignore"],
        );
    }
    let kind = &spec["paramKind"];
    if !kind.is_null() {
        for field in ["apiVersion", "kind"] {
            if kind[field].is_zero() {
                errors.required(&path.child("paramKind").child(field), "");
            }
        }
    }
    let (constraints, at) = (&spec["matchConstraints"], path.child("matchConstraints"));
    if constraints.is_null() {
        errors.required(&at, "");
        return;
    }
    validate_match(constraints, &at, errors);
    if constraints["resourceRules"].is_zero() {
        errors.required(&at.child("resourceRules"), "");
    }
}

/// `group/version/Kind` of the parameters.
pub(super) fn param_kind(spec: &Value) -> Value {
    let of = |field: &str| spec["paramKind"][field].as_str().unwrap_or_default();
    match spec["paramKind"] {
        Value::Null => "<unset>".into(),
        _ => format!("{}/{}", of("apiVersion"), of("kind")).into(),
    }
}

impl Rules for ValidatingPolicy {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        default_spec(object.at_mut(&["spec"]));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        validate_spec(spec, &path, errors);
        let validations = spec.list_at(&["validations"]);
        if validations.is_empty() && spec["auditAnnotations"].is_zero() {
            let detail = "validations or auditAnnotations must contain at least one item";
            errors.required(&path.child("validations"), detail);
            errors.required(&path.child("auditAnnotations"), detail);
        }
        for (i, validation) in validations.iter().enumerate() {
            let at = path.child("validations").index(i);
            if validation["expression"]
                .as_str()
                .is_none_or(|e| e.trim().is_empty())
            {
                errors.required(&at.child("expression"), "expression is not specified");
            }
            if let Some(reason) = validation["reason"].as_str() {
                let known = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
                if !known.contains(&reason) {
                    errors.not_supported(&at.child("reason"), reason.to_owned(), &known);
                }
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, number("Validations"), text("ParamKind"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let count = object.list_at(&["spec", "validations"]).len() as i64;
        vec![
            name_cell(object),
            count.into(),
            param_kind(&object["spec"]),
            age(object, cx),
        ]
    }
}
