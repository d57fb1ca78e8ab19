//! ReplicationController.

use machinery::{Map, Value};

use crate::edit::{fill, lacks};
use crate::table::{AGE, NAME, age, containers, int, labels, name as name_cell, number, wide};
use crate::types::pod_template;
use crate::{Column, Cx, FieldErrors, Path, Rules, Scale};

/// Rules of replication controllers.
pub(crate) struct ReplicationController;

impl Rules for ReplicationController {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let template_labels = object.at(&["spec", "template", "metadata", "labels"]).clone();
        let spec = object.at_mut(&["spec"]);
        fill(spec, "replicas", 1);
        if !template_labels.is_zero() && lacks(spec, "selector") {
            spec.insert("selector", template_labels.clone());
        }
        if spec.get("template").is_some_and(|t| !t.is_null()) {
            pod_template::default(spec, "template");
        }
        let metadata = object.at_mut(&["metadata"]);
        if !template_labels.is_zero() && lacks(metadata, "labels") {
            metadata.insert("labels", template_labels);
        }
        let status = object.at_mut(&["status"]);
        fill(status, "replicas", 0);
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
        errors.nonnegative(&path.child("minReadySeconds"), &spec["minReadySeconds"]);
        let selector = &spec["selector"];
        if selector.is_zero() {
            errors.required(&path.child("selector"), "");
        }
        errors.nonnegative(&path.child("replicas"), &spec["replicas"]);
        let template = path.child("template");
        if spec["template"].is_null() {
            errors.required(&template, "");
            return;
        }
        let labels = spec.at(&["template", "metadata", "labels"]);
        let matches = selector
            .as_map()
            .into_iter()
            .flat_map(Map::iter)
            .all(|(k, v)| labels.get(k) == Some(v));
        if !selector.is_zero() && !matches {
            let detail = "`selector` does not match template `labels`";
            errors.invalid(&template.child("metadata.labels"), labels.clone(), detail);
        }
        pod_template::validate_always(&spec["template"], "ReplicationController", &template, errors);
    }

    fn validate_update(&self, new: &Value, _old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            let counts = [
                "replicas",
                "fullyLabeledReplicas",
                "readyReplicas",
                "availableReplicas",
            ];
            crate::apps::status_counts(&new["status"], &counts, errors);
        }
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
            labels(object.at(&["spec", "selector"])),
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
