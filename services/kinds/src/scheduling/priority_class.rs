//! PriorityClass.

use machinery::Value;

use crate::edit::fill;
use crate::table::{AGE, NAME, age, cell, column, int, name as name_cell, number, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal};

/// Rules of priority classes.
pub(crate) struct PriorityClass;

/// The highest priority that users may define.
const HIGHEST: i64 = 1_000_000_000;
/// The classes that the system itself defines.
const SYSTEM: [(&str, i64); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

impl Rules for PriorityClass {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        fill(object.at_mut(&[]), "preemptionPolicy", "PreemptLowerPriority");
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Cx<'_>) {
        // Nothing that counts can change.
        let generation = old.at(&["metadata", "generation"]).clone();
        crate::strategy::put(new.at_mut(&["metadata"]), "generation", generation);
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let value = object["value"].as_i64().unwrap_or(0);
        if name.starts_with("system-") {
            let wrong = match SYSTEM.iter().find(|(n, _)| *n == name) {
                None => Some(format!("{name} is not a known system priority class")),
                Some((_, v)) if *v != value => Some(format!("value of {name} PriorityClass must be {v}")),
                Some(_) if object["globalDefault"].as_bool() == Some(true) => {
                    Some(format!("globalDefault of {name} PriorityClass must be false"))
                }
                Some(_) => None,
            };
            if let Some(wrong) = wrong {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {wrong}"
                );
                errors.forbidden(&Path::new("metadata.name"), &detail);
            }
        } else if value > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.forbidden(&Path::new("value"), &detail);
        }
        let known = ["PreemptLowerPriority", "Never"];
        errors.enumeration(
            &Path::new("preemptionPolicy"),
            &object["preemptionPolicy"],
            &known,
        );
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let value = |o: &Value| o["value"].as_i64().unwrap_or(0);
        if value(new) != value(old) {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        if !equal(&new["preemptionPolicy"], &old["preemptionPolicy"]) {
            errors.immutable(
                &Path::new("preemptionPolicy"),
                &new["preemptionPolicy"],
                &old["preemptionPolicy"],
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                number("Value"),
                column("Global-Default", "boolean"),
                AGE,
                text("PreemptionPolicy"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![
            name_cell(object),
            int(&object["value"]),
            object["globalDefault"].as_bool().unwrap_or(false).into(),
            age(object, cx),
            cell(&object["preemptionPolicy"]),
        ]
    }
}
