//! PodDisruptionBudget.

use machinery::Value;

use crate::apps::count_or_percent;
use crate::edit::fill;
use crate::table::{AGE, NAME, age, int, name as name_cell, number, text};
use crate::types::label_selector;
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of disruption budgets.
pub(crate) struct PodDisruptionBudget;

const COUNTS: [&str; 4] = [
    "disruptionsAllowed",
    "currentHealthy",
    "desiredHealthy",
    "expectedPods",
];

impl Rules for PodDisruptionBudget {
    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, true, cx);
        let status = object.at_mut(&["status"]);
        COUNTS.into_iter().for_each(|field| fill(status, field, 0));
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
            errors.invalid(
                &path,
                spec.clone(),
                "minAvailable and maxUnavailable cannot be both set",
            );
        }
        for field in ["minAvailable", "maxUnavailable"] {
            count_or_percent(&spec[field], &path.child(field), errors);
        }
        label_selector::validate(&spec["selector"], &path.child("selector"), errors);
        let policy = &spec["unhealthyPodEvictionPolicy"];
        if !policy.is_null() {
            let known = ["AlwaysAllow", "IfHealthyBudget"];
            errors.enumeration(&path.child("unhealthyPodEvictionPolicy"), policy, &known);
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource == "status" {
            for field in COUNTS {
                errors.nonnegative(&Path::new("status").child(field), &new["status"][field]);
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Min Available"),
                text("Max Unavailable"),
                number("Allowed Disruptions"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let shown = |field: &str| -> Value {
            match &object["spec"][field] {
                Value::Int(n) => n.to_string().into(),
                Value::Null => "N/A".into(),
                other => other.clone(),
            }
        };
        vec![
            name_cell(object),
            shown("minAvailable"),
            shown("maxUnavailable"),
            int(object.at(&["status", "disruptionsAllowed"])),
            age(object, cx),
        ]
    }
}
