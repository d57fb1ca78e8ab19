//! Lease.

use machinery::Value;

use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of leases.
pub(crate) struct Lease;

impl Rules for Lease {
    fn prepare_create(&self, object: &mut Value, _cx: &Cx<'_>) {
        drop_coordination(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        crate::strategy::prepare_update(new, old, false, cx);
        drop_coordination(new);
    }

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

/// Coordinated leader election is off unless asked for, and then these mean nothing.
fn drop_coordination(object: &mut Value) {
    let spec = object.at_mut(&["spec"]);
    spec.remove("strategy");
    spec.remove("preferredHolder");
}
