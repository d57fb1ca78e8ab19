//! ControllerRevision.

use machinery::Value;

use crate::table::{AGE, NAME, age, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of controller revisions.
pub(crate) struct ControllerRevision;

impl Rules for ControllerRevision {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        if object["data"].is_null() {
            errors.required(&Path::new("data"), "data is mandatory");
        }
        errors.nonnegative(&Path::new("revision"), &object["revision"]);
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        errors.immutable(&Path::new("data"), &new["data"], &old["data"]);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Controller"), text("Revision"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let owners = object.list_at(&["metadata", "ownerReferences"]);
        let controller = owners
            .iter()
            .find(|o| o["controller"].as_bool() == Some(true))
            .map_or_else(
                || "<none>".to_owned(),
                |owner| {
                    let text = |field: &str| owner[field].as_str().unwrap_or_default();
                    let kind = match text("apiVersion").split_once('/') {
                        Some((group, _)) => format!("{}.{group}", text("kind")),
                        None => text("kind").to_owned(),
                    };
                    format!("{}/{}", kind.to_lowercase(), text("name"))
                },
            );
        vec![
            name_cell(object),
            controller.into(),
            crate::table::int(&object["revision"]),
            age(object, cx),
        ]
    }
}
