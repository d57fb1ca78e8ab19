//! RuntimeClass.

use machinery::{Value, name};

use crate::edit::within;
use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::types::resources;
use crate::{Column, Cx, FieldErrors, Path, Rules, metadata};

/// Rules of runtime classes.
pub(crate) struct RuntimeClass;

impl Rules for RuntimeClass {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        within(object.at_mut(&[]), "overhead", |overhead| {
            within(overhead, "podFixed", resources::default_list);
        });
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let handler = object["handler"].as_str().unwrap_or_default();
        errors.invalid_each(&Path::new("handler"), handler, name::dns1123_label(handler));
        let selector = object.at(&["scheduling", "nodeSelector"]);
        metadata::validate_labels(selector, &Path::new("scheduling.nodeSelector"), errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        errors.immutable(&Path::new("handler"), &new["handler"], &old["handler"]);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Handler"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![name_cell(object), cell(&object["handler"]), age(object, cx)]
    }
}
