//! MutatingAdmissionPolicy.

use machinery::Value;

use super::validating_policy::{default_spec, param_kind, validate_spec};
use crate::table::{AGE, NAME, age, name as name_cell, number, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of mutating admission policies.
pub(crate) struct MutatingPolicy;

impl Rules for MutatingPolicy {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        default_spec(object.at_mut(&["spec"]));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        validate_spec(spec, &path, errors);
        let mutations = spec.list_at(&["mutations"]);
        if mutations.is_empty() {
            errors.required(
                &path.child("mutations"),
                "mutations must contain at least one item",
            );
        }
        for (i, mutation) in mutations.iter().enumerate() {
            let at = path.child("mutations").index(i);
            errors.enumeration(
                &at.child("patchType"),
                &mutation["patchType"],
                &["ApplyConfiguration", "JSONPatch"],
            );
        }
        let policy = &spec["reinvocationPolicy"];
        errors.enumeration(&path.child("reinvocationPolicy"), policy, &["IfNeeded", "Never"]);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, number("Mutations"), text("ParamKind"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let count = object.list_at(&["spec", "mutations"]).len() as i64;
        vec![
            name_cell(object),
            count.into(),
            param_kind(&object["spec"]),
            age(object, cx),
        ]
    }
}
