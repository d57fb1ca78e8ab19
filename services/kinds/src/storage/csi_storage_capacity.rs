//! CSIStorageCapacity.

use machinery::Value;

use crate::table::{NAME, cell, name as name_cell, text};
use crate::types::label_selector;
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of storage capacities.
pub(crate) struct CsiStorageCapacity;

impl Rules for CsiStorageCapacity {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        label_selector::validate(&object["nodeTopology"], &Path::new("nodeTopology"), errors);
        let class = object["storageClassName"].as_str().unwrap_or_default();
        errors.invalid_each(
            &Path::new("storageClassName"),
            class,
            machinery::name::dns1123_subdomain(class),
        );
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for field in ["nodeTopology", "storageClassName"] {
            errors.immutable(&Path::new(field), &new[field], &old[field]);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("StorageClassName"), text("Capacity")] }
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        let capacity = object["capacity"].as_str().unwrap_or("<unset>").to_owned();
        vec![
            name_cell(object),
            cell(&object["storageClassName"]),
            capacity.into(),
        ]
    }
}
