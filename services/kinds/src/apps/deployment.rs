//! Deployment.

use machinery::Value;

use super::{count_or_percent, is_none, validate_selector_and_template};
use crate::edit::{fill, fill_zero, text};
use crate::table::{AGE, NAME, age, containers, int, name as name_cell, text as string, wide};
use crate::types::pod_template;
use crate::{Column, Cx, FieldErrors, Path, Rules, Scale, equal, strategy};

/// Rules of deployments.
pub(crate) struct Deployment;

impl Rules for Deployment {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        fill(spec, "replicas", 1);
        pod_template::default(spec, "template");
        let strategy = spec.map_entry("strategy");
        fill_zero(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate" {
            let rolling = strategy.map_entry("rollingUpdate");
            fill(rolling, "maxUnavailable", "25%");
            fill(rolling, "maxSurge", "25%");
        }
        fill(spec, "revisionHistoryLimit", 10);
        fill(spec, "progressDeadlineSeconds", 600);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, true, cx);
        if cx.subresource == "status" {
            let labels = old.at(&["metadata", "labels"]).clone();
            strategy::put(new.at_mut(&["metadata"]), "labels", labels);
            return;
        }
        // Unlike other kinds, annotations count too.
        let before = old.int_at(&["metadata", "generation"]).unwrap_or(0);
        if !equal(
            new.at(&["metadata", "annotations"]),
            old.at(&["metadata", "annotations"]),
        ) {
            new.at_mut(&["metadata"]).insert("generation", before + 1);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        errors.nonnegative(&path.child("replicas"), &spec["replicas"]);
        validate_selector_and_template(spec, &spec["template"], "Deployment", errors);
        validate_strategy(&spec["strategy"], &path.child("strategy"), errors);
        errors.nonnegative(&path.child("minReadySeconds"), &spec["minReadySeconds"]);
        errors.nonnegative(&path.child("revisionHistoryLimit"), &spec["revisionHistoryLimit"]);
        let deadline = &spec["progressDeadlineSeconds"];
        errors.nonnegative(&path.child("progressDeadlineSeconds"), deadline);
        if let Some(n) = deadline.as_i64()
            && n <= spec["minReadySeconds"].as_i64().unwrap_or(0)
        {
            errors.invalid(
                &path.child("progressDeadlineSeconds"),
                n,
                "must be greater than minReadySeconds",
            );
        }
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
        let (status, path) = (&new["status"], Path::new("status"));
        for field in [
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "collisionCount",
        ] {
            errors.nonnegative(&path.child(field), &status[field]);
        }
        let total = status["replicas"].as_i64().unwrap_or(0);
        for (field, of, detail) in [
            ("updatedReplicas", total, "cannot be greater than status.replicas"),
            ("readyReplicas", total, "cannot be greater than status.replicas"),
            (
                "availableReplicas",
                total,
                "cannot be greater than status.replicas",
            ),
            (
                "availableReplicas",
                status["readyReplicas"].as_i64().unwrap_or(0),
                "cannot be greater than readyReplicas",
            ),
        ] {
            let n = status[field].as_i64().unwrap_or(0);
            if n > of {
                errors.invalid(&path.child(field), n, detail);
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                string("Ready"),
                string("Up-to-date"),
                string("Available"),
                AGE,
                wide("Containers"),
                wide("Images"),
                wide("Selector"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let status = &object["status"];
        let wanted = object.int_at(&["spec", "replicas"]).unwrap_or(0);
        let ready = status["readyReplicas"].as_i64().unwrap_or(0);
        let [names, images] = containers(object.at(&["spec", "template", "spec"]));
        let selector = machinery::selector::Selector::from_object(object.at(&["spec", "selector"]));
        vec![
            name_cell(object),
            format!("{ready}/{wanted}").into(),
            int(&status["updatedReplicas"]),
            int(&status["availableReplicas"]),
            age(object, cx),
            names,
            images,
            selector
                .map_or_else(|_| "<invalid>".to_owned(), |s| s.to_string())
                .into(),
        ]
    }

    fn scale(&self) -> Option<Scale> {
        Some(Scale::BUILT_IN)
    }
}

fn validate_strategy(strategy: &Value, path: &Path, errors: &mut FieldErrors) {
    let rolling = &strategy["rollingUpdate"];
    match strategy["type"].as_str().unwrap_or_default() {
        "Recreate" => {
            if !rolling.is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                errors.forbidden(&path.child("rollingUpdate"), detail);
            }
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            if rolling.is_null() {
                errors.required(&path, "this should be defaulted and never be nil");
                return;
            }
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            count_or_percent(unavailable, &path.child("maxUnavailable"), errors);
            if let Value::Int(_) = surge {
                count_or_percent(surge, &path.child("maxSurge"), errors);
            } else if let Some(text) = surge.as_str() {
                for message in machinery::name::percent(text) {
                    errors.invalid(&path.child("maxSurge"), text.to_owned(), &message);
                }
            }
            if is_none(unavailable) && is_none(surge) {
                let detail = "may not be 0 when `maxSurge` is 0";
                errors.invalid(&path.child("maxUnavailable"), unavailable.clone(), detail);
            }
        }
        _ => errors.not_supported(path, strategy.clone(), &["Recreate", "RollingUpdate"]),
    }
}
