//! Lease.

use machinery::Value;

use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of leases.
pub(crate) struct Lease;

impl Rules for Lease {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if let Some(n) = spec["leaseDurationSeconds"].as_i64().filter(|n| *n <= 0) {
            errors.invalid(&path.child("leaseDurationSeconds"), n, "must be greater than 0");
        }
        if let Some(n) = spec["leaseTransitions"].as_i64().filter(|n| *n < 0) {
            errors.invalid(
                &path.child("leaseTransitions"),
                n,
                "must be greater than or equal to 0",
            );
        }
        if spec["strategy"].is_zero() && !spec["preferredHolder"].is_zero() {
            let detail = "may only be specified if `strategy` is defined";
            errors.forbidden(&path.child("preferredHolder"), detail);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Holder"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![
            name_cell(object),
            cell(object.at(&["spec", "holderIdentity"])),
            age(object, cx),
        ]
    }
}
