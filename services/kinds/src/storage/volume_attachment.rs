//! VolumeAttachment.

use machinery::Value;

use crate::edit::fill;
use crate::table::{AGE, NAME, age, cell, column, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of attachments.
pub(crate) struct VolumeAttachment;

impl Rules for VolumeAttachment {
    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, false, cx);
        fill(object.at_mut(&["status"]), "attached", false);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, false, cx);
        if cx.subresource == "status" {
            strategy::keep_metadata(new, old);
        }
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if spec["attacher"].is_zero() {
            errors.required(&path.child("attacher"), "");
        }
        let node = spec["nodeName"].as_str().unwrap_or_default();
        errors.invalid_each(
            &path.child("nodeName"),
            node,
            machinery::name::dns1123_subdomain(node),
        );
        let source = &spec["source"];
        match (
            source["persistentVolumeName"].is_null(),
            source["inlineVolumeSpec"].is_null(),
        ) {
            (true, true) => {
                errors.required(
                    &path.child("source"),
                    "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                );
            }
            (false, false) => {
                let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
                errors.forbidden(&path.child("source"), detail);
            }
            _ => {}
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource.is_empty() && !crate::equal(&new["spec"], &old["spec"]) {
            errors.invalid(&Path::new("spec"), new["spec"].clone(), "field is immutable");
        }
    }

    fn columns(&self) -> &'static [Column] {
        const ATTACHER: Column = Column {
            name: "Attacher",
            ty: "string",
            format: "name",
            priority: 0,
        };
        const {
            &[
                NAME,
                ATTACHER,
                text("PV"),
                text("Node"),
                column("Attached", "boolean"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        vec![
            name_cell(object),
            cell(&spec["attacher"]),
            cell(spec.at(&["source", "persistentVolumeName"])),
            cell(&spec["nodeName"]),
            object
                .at(&["status", "attached"])
                .as_bool()
                .unwrap_or(false)
                .into(),
            age(object, cx),
        ]
    }
}
