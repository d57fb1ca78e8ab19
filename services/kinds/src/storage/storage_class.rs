//! StorageClass.

use machinery::{Value, name};

use crate::edit::fill;
use crate::table::{AGE, NAME, age, cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of storage classes.
pub(crate) struct StorageClass;

impl Rules for StorageClass {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let map = object.at_mut(&[]);
        fill(map, "reclaimPolicy", "Delete");
        fill(map, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let path = Path::new("provisioner");
        match object["provisioner"].as_str().unwrap_or_default() {
            "" => errors.required(&path, ""),
            text => errors.invalid_each(&path, text, name::qualified_name(&text.to_lowercase())),
        }
        errors.enumeration(
            &Path::new("reclaimPolicy"),
            &object["reclaimPolicy"],
            &["Delete", "Retain"],
        );
        let known = ["Immediate", "WaitForFirstConsumer"];
        errors.enumeration(
            &Path::new("volumeBindingMode"),
            &object["volumeBindingMode"],
            &known,
        );
        let parameters = object["parameters"].as_map().into_iter().flat_map(|m| m.iter());
        let (mut count, mut size) = (0, 0);
        for (key, value) in parameters {
            count += 1;
            size += key.len() + value.as_str().map_or(0, str::len);
            if key.is_empty() {
                errors.invalid(
                    &Path::new("parameters"),
                    key.to_owned(),
                    "field can not be empty.",
                );
            }
        }
        if count > 512 {
            errors.too_long(&Path::new("Provisioner Parameters Length"), 512);
        }
        if size > 256 * 1024 {
            errors.too_long(&Path::new("parameters"), 256 * 1024);
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            errors.immutable(&Path::new(field), &new[field], &old[field]);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Provisioner"),
                text("ReclaimPolicy"),
                text("VolumeBindingMode"),
                text("AllowVolumeExpansion"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let mut name = object
            .str_at(&["metadata", "name"])
            .unwrap_or_default()
            .to_owned();
        let annotations = object.at(&["metadata", "annotations"]);
        let default = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        if default.iter().any(|a| annotations[*a].as_str() == Some("true")) {
            name.push_str(" (default)");
        }
        let or = |field: &str, otherwise: &str| -> Value {
            object[field].as_str().unwrap_or(otherwise).to_owned().into()
        };
        vec![
            name.into(),
            cell(&object["provisioner"]),
            or("reclaimPolicy", "Delete"),
            or("volumeBindingMode", "Immediate"),
            object["allowVolumeExpansion"].as_bool().unwrap_or(false).into(),
            age(object, cx),
        ]
    }
}
