//! CSIStorageCapacity.

use machinery::Value;

use crate::table::{NAME_AND_CREATED, name_and_created};
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

    // Upstream has a printer with more columns and does not use it.
    fn columns(&self) -> &'static [Column] {
        NAME_AND_CREATED
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        name_and_created(object)
    }
}
