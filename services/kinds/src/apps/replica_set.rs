//! ReplicaSet.

use machinery::Value;

use super::validate_selector_and_template;
use crate::edit::fill;
use crate::table::{AGE, NAME, age, containers, int, name as name_cell, number, selector, wide};
use crate::types::pod_template;
use crate::{Column, Cx, FieldErrors, Path, Rules, Scale};

/// Rules of replica sets.
pub(crate) struct ReplicaSet;

impl Rules for ReplicaSet {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill(spec, "replicas", 1);
        pod_template::default(spec, "template");
        fill(object.at_mut(&["status"]), "replicas", 0);
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        crate::strategy::prepare_create(object, true, cx);
        object.at_mut(&["status"]).insert("replicas", 0);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        errors.nonnegative(&path.child("replicas"), &spec["replicas"]);
        errors.nonnegative(&path.child("minReadySeconds"), &spec["minReadySeconds"]);
        validate_selector_and_template(spec, &spec["template"], "ReplicaSet", errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource.is_empty() {
            errors.immutable(
                &Path::new("spec.selector"),
                &new["spec"]["selector"],
                &old["spec"]["selector"],
            );
            return;
        }
        let counts = [
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
        ];
        super::status_counts(&new["status"], &counts, errors);
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                number("Desired"),
                number("Current"),
                number("Ready"),
                AGE,
                wide("Containers"),
                wide("Images"),
                wide("Selector"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let [names, images] = containers(object.at(&["spec", "template", "spec"]));
        vec![
            name_cell(object),
            int(object.at(&["spec", "replicas"])),
            int(object.at(&["status", "replicas"])),
            int(object.at(&["status", "readyReplicas"])),
            age(object, cx),
            names,
            images,
            selector(object.at(&["spec", "selector"])),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.replicas",
            object.int_at(&["status", "replicas"]).unwrap_or(0).to_string(),
        )]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn scale(&self) -> Option<Scale> {
        Some(Scale::BUILT_IN)
    }
}
