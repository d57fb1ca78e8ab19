//! CSIDriver.

use machinery::{Value, name};

use crate::edit::{fill, lacks};
use crate::table::{AGE, NAME, age, column, name as name_cell, or_none, strings, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of drivers.
pub(crate) struct CsiDriver;

impl Rules for CsiDriver {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill(spec, "attachRequired", true);
        fill(spec, "podInfoOnMount", false);
        fill(spec, "storageCapacity", false);
        fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if lacks(spec, "volumeLifecycleModes") {
            spec.insert("volumeLifecycleModes", vec![Value::from("Persistent")]);
        }
        fill(spec, "requiresRepublish", false);
        fill(spec, "seLinuxMount", false);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        strategy::count_generation(new, old);
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let text = object.str_at(&["metadata", "name"]).unwrap_or_default();
        if text.len() > 63 {
            errors.too_long(&Path::new("metadata.name"), 63);
        }
        errors.invalid_each(
            &Path::new("metadata.name"),
            text,
            name::dns1123_subdomain(&text.to_lowercase()),
        );
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        errors.enumeration(&path.child("fsGroupPolicy"), &spec["fsGroupPolicy"], &known);
        for mode in spec.list_at(&["volumeLifecycleModes"]) {
            errors.enumeration(
                &path.child("volumeLifecycleModes"),
                mode,
                &["Persistent", "Ephemeral"],
            );
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        // Upstream spells the first so.
        for (field, shown) in [
            ("attachRequired", "attachedRequired"),
            ("volumeLifecycleModes", "volumeLifecycleModes"),
        ] {
            let path = Path::new("spec").child(shown);
            errors.immutable(&path, &new["spec"][field], &old["spec"][field]);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                column("AttachRequired", "boolean"),
                column("PodInfoOnMount", "boolean"),
                column("StorageCapacity", "boolean"),
                text("TokenRequests"),
                column("RequiresRepublish", "boolean"),
                text("Modes"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let flag = |field: &str, otherwise: bool| Value::Bool(spec[field].as_bool().unwrap_or(otherwise));
        let tokens = match spec["tokenRequests"].as_list() {
            None => "<unset>".to_owned(),
            Some(list) => list
                .iter()
                .map(|t| t["audience"].as_str().unwrap_or_default())
                .collect::<Vec<_>>()
                .join(","),
        };
        vec![
            name_cell(object),
            flag("attachRequired", true),
            flag("podInfoOnMount", false),
            flag("storageCapacity", false),
            tokens.into(),
            flag("requiresRepublish", false),
            or_none(&strings(spec, &["volumeLifecycleModes"]).join(",")),
            age(object, cx),
        ]
    }
}
