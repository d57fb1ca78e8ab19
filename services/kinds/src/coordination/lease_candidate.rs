//! LeaseCandidate.

use machinery::Value;

use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of candidates for a lease.
pub(crate) struct LeaseCandidate;

impl Rules for LeaseCandidate {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for field in ["leaseName", "binaryVersion", "strategy"] {
            if object["spec"][field].is_zero() {
                errors.required(&Path::new("spec").child(field), "");
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let path = ["spec", "leaseName"];
        errors.immutable(&Path::new("spec.leaseName"), new.at(&path), old.at(&path));
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("LeaseName"),
                text("BinaryVersion"),
                text("EmulationVersion"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let of = |field: &str| cell(&object["spec"][field]);
        vec![
            name_cell(object),
            of("leaseName"),
            of("binaryVersion"),
            of("emulationVersion"),
            age(object, cx),
        ]
    }
}
