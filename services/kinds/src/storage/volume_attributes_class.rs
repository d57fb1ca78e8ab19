//! VolumeAttributesClass.

use machinery::Value;

use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal};

/// Rules of attributes classes.
pub(crate) struct VolumeAttributesClass;

impl Rules for VolumeAttributesClass {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        if object["driverName"].is_zero() {
            errors.required(&Path::new("driverName"), "");
        }
        if object["parameters"].is_zero() {
            errors.required(
                &Path::new("parameters"),
                "must contain at least one key/value pair",
            );
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for (field, detail) in [
            ("driverName", "updates to driverName are forbidden."),
            ("parameters", "updates to parameters are forbidden."),
        ] {
            if !equal(&new[field], &old[field]) {
                errors.forbidden(&Path::new(field), detail);
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("DriverName"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![name_cell(object), cell(&object["driverName"]), age(object, cx)]
    }
}
