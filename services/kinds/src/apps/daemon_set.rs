//! DaemonSet.

use machinery::Value;

use super::{count_or_percent, is_none, validate_selector_and_template};
use crate::edit::{fill, fill_zero, text};
use crate::table::{
    AGE, NAME, age, containers, int, labels, name as name_cell, number, selector, text as string, wide,
};
use crate::types::pod_template;
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of daemon sets.
pub(crate) struct DaemonSet;

const COUNTS: [&str; 4] = [
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
];

impl Rules for DaemonSet {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        pod_template::default(spec, "template");
        let strategy = spec.map_entry("updateStrategy");
        fill_zero(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate" {
            let rolling = strategy.map_entry("rollingUpdate");
            fill(rolling, "maxUnavailable", 1);
            fill(rolling, "maxSurge", 0);
        }
        fill(spec, "revisionHistoryLimit", 10);
        let status = object.at_mut(&["status"]);
        COUNTS.into_iter().for_each(|field| fill(status, field, 0));
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, true, cx);
        let status = object.at_mut(&["status"]);
        COUNTS.into_iter().for_each(|field| fill(status, field, 0));
        fill_zero(
            object.at_mut(&["metadata", "annotations"]),
            TEMPLATE_GENERATION,
            "1",
        );
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, true, cx);
        let before = &old.at(&["metadata", "annotations"])[TEMPLATE_GENERATION];
        let Some(n) = before.as_str().and_then(|s| s.parse::<i64>().ok()) else {
            return;
        };
        let changed =
            cx.subresource.is_empty() && !crate::equal(&new["spec"]["template"], &old["spec"]["template"]);
        let n = n.saturating_add(i64::from(changed)).to_string();
        new.at_mut(&["metadata", "annotations"])
            .insert(TEMPLATE_GENERATION, n);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        validate_selector_and_template(spec, &spec["template"], "DaemonSet", errors);
        errors.nonnegative(&path.child("minReadySeconds"), &spec["minReadySeconds"]);
        errors.nonnegative(&path.child("revisionHistoryLimit"), &spec["revisionHistoryLimit"]);
        let (strategy, at) = (&spec["updateStrategy"], path.child("updateStrategy"));
        match strategy["type"].as_str().unwrap_or_default() {
            "OnDelete" => {}
            "RollingUpdate" => {
                let (rolling, at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
                let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
                count_or_percent(unavailable, &at.child("maxUnavailable"), errors);
                count_or_percent(surge, &at.child("maxSurge"), errors);
                if is_none(unavailable) && is_none(surge) {
                    let detail = "cannot be 0 when maxSurge is 0";
                    errors.required(&at.child("maxUnavailable"), detail);
                }
                if !is_none(unavailable) && !is_none(surge) {
                    let detail = "may not be set when maxUnavailable is non-zero";
                    errors.invalid(&at.child("maxSurge"), surge.clone(), detail);
                }
            }
            _ => errors.not_supported(&at, strategy.clone(), &["RollingUpdate", "OnDelete"]),
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
        for field in COUNTS.iter().chain(&[
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ]) {
            errors.nonnegative(&Path::new("status").child(field), &new["status"][*field]);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                number("Desired"),
                number("Current"),
                number("Ready"),
                number("Up-to-date"),
                number("Available"),
                string("Node Selector"),
                AGE,
                wide("Containers"),
                wide("Images"),
                wide("Selector"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let status = &object["status"];
        let pod = object.at(&["spec", "template", "spec"]);
        let [names, images] = containers(pod);
        vec![
            name_cell(object),
            int(&status["desiredNumberScheduled"]),
            int(&status["currentNumberScheduled"]),
            int(&status["numberReady"]),
            int(&status["updatedNumberScheduled"]),
            int(&status["numberAvailable"]),
            labels(&pod["nodeSelector"]),
            age(object, cx),
            names,
            images,
            selector(object.at(&["spec", "selector"])),
        ]
    }
}

/// Where the generation of the template is kept since the field for it went away.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
