//! CSINode.

use machinery::Value;

use crate::table::{AGE, NAME, age, name as name_cell, number};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of nodes' drivers.
pub(crate) struct CsiNode;

impl Rules for CsiNode {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let drivers = object.list_at(&["spec", "drivers"]);
        for (i, driver) in drivers.iter().enumerate() {
            let path = Path::new("spec.drivers").index(i);
            for field in ["name", "nodeID"] {
                if driver[field].is_zero() {
                    errors.required(&path.child(field), "");
                }
            }
            if drivers[..i].iter().any(|d| d["name"] == driver["name"]) {
                errors.duplicate(&path.child("name"), driver["name"].clone());
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, number("Drivers"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let count = object.list_at(&["spec", "drivers"]).len() as i64;
        vec![name_cell(object), count.into(), age(object, cx)]
    }
}
