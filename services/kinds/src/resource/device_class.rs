//! DeviceClass.

use machinery::Value;

use crate::{Cx, FieldErrors, Path, Rules};

/// Rules of device classes.
pub(crate) struct DeviceClass;

impl Rules for DeviceClass {
    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let selectors = object.list_at(&["spec", "selectors"]);
        let path = Path::new("spec.selectors");
        if selectors.len() > 32 {
            errors.too_many(&path, selectors.len(), 32);
        }
        for (i, selector) in selectors.iter().enumerate() {
            if selector["cel"].is_null() {
                errors.required(&path.index(i).child("cel"), "");
            } else if selector.at(&["cel", "expression"]).is_zero() {
                errors.required(&path.index(i).child("cel.expression"), "");
            }
        }
    }
}
