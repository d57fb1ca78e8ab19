//! ResourceSlice.

use machinery::Value;

use crate::edit::each;
use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of resource slices.
pub(crate) struct Slice;

impl Rules for Slice {
    fn default(&self, object: &mut Value, cx: &Cx<'_>) {
        each(object.at_mut(&["spec"]), "devices", |device| {
            each(device, "taints", |taint| {
                crate::edit::fill(taint, "timeAdded", crate::now(cx))
            });
        });
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if spec["driver"].is_zero() {
            errors.required(&path.child("driver"), "");
        }
        if spec.at(&["pool", "name"]).is_zero() {
            errors.required(&path.child("pool.name"), "");
        }
        let count = spec.at(&["pool", "resourceSliceCount"]).as_i64().unwrap_or(0);
        if count <= 0 {
            errors.invalid(
                &path.child("pool.resourceSliceCount"),
                count,
                "must be greater than zero",
            );
        }
        let set = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
        let count = set.iter().filter(|f| !spec[**f].is_zero()).count();
        if count != 1 {
            let detail =
                "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
            if count == 0 {
                errors.required(&path, detail)
            } else {
                errors.invalid_omitted(&path, detail)
            }
        }
        let devices = spec.list_at(&["devices"]);
        if devices.len() > 128 {
            errors.too_many(&path.child("devices"), devices.len(), 128);
        }
        for (i, device) in devices.iter().enumerate() {
            let at = path.child("devices").index(i).child("name");
            match device["name"].as_str().unwrap_or_default() {
                "" => errors.required(&at, ""),
                text => errors.invalid_each(&at, text, machinery::name::dns1123_label(text)),
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for field in ["driver", "nodeName"] {
            let path = Path::new("spec").child(field);
            errors.immutable(&path, &new["spec"][field], &old["spec"][field]);
        }
        let path = ["spec", "pool", "name"];
        errors.immutable(&Path::new("spec.pool.name"), new.at(&path), old.at(&path));
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Node"), text("Driver"), text("Pool"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        vec![
            name_cell(object),
            cell(&spec["nodeName"]),
            cell(&spec["driver"]),
            cell(spec.at(&["pool", "name"])),
            age(object, cx),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let text = |field: &str| object["spec"][field].as_str().unwrap_or_default().to_owned();
        vec![
            ("spec.nodeName", text("nodeName")),
            ("spec.driver", text("driver")),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }
}
