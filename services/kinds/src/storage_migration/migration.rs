//! StorageVersionMigration.

use machinery::Value;

use crate::table::{column, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of migrations.
pub(crate) struct Migration;

impl Rules for Migration {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        if object.at(&["spec", "resource", "resource"]).is_zero() {
            errors.required(&Path::new("spec.resource.resource"), "resource is required");
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource.is_empty() {
            errors.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const NAME: Column = column("Name", "string");
        const { &[NAME, text("Resource"), text("Status")] }
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        let resource = object.at(&["spec", "resource"]);
        let of = |field: &str| resource[field].as_str().unwrap_or_default();
        let shown = if of("group").is_empty() {
            of("resource").to_owned()
        } else {
            format!("{}.{}", of("resource"), of("group"))
        };
        let mut state = "Unknown";
        for condition in object.list_at(&["status", "conditions"]) {
            match (condition["type"].as_str(), condition["status"].as_str()) {
                (Some("Running"), Some("True")) => state = "Running",
                (Some("Failed"), Some("True")) => state = "Failed",
                (Some("Succeeded"), Some("True")) => state = "Succeeded",
                _ => {}
            }
        }
        vec![name_cell(object), shown.into(), state.into()]
    }
}
