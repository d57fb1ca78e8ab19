//! ResourceClaim.

use machinery::Value;

use super::{default_claim_spec, validate_claim_spec};
use crate::table::{AGE, NAME, age, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of resource claims.
pub(crate) struct Claim;

impl Rules for Claim {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        default_claim_spec(object.at_mut(&["spec"]));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, false, cx);
        if cx.subresource == "status" {
            strategy::keep_metadata(new, old);
        }
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        validate_claim_spec(&object["spec"], &Path::new("spec"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource.is_empty() {
            errors.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("State"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let deleting = !object.at(&["metadata", "deletionTimestamp"]).is_null();
        let allocated = !object.at(&["status", "allocation"]).is_null();
        let reserved = !object.at(&["status", "reservedFor"]).is_zero();
        let states: Vec<&str> = [
            ("deleted", deleting),
            ("pending", !deleting && !allocated),
            ("allocated", allocated),
            ("reserved", allocated && reserved),
        ]
        .iter()
        .filter(|(_, is)| *is)
        .map(|(state, _)| *state)
        .collect();
        vec![name_cell(object), states.join(",").into(), age(object, cx)]
    }
}
