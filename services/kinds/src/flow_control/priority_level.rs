//! PriorityLevelConfiguration.

use machinery::Value;

use crate::edit::{fill, fill_zero, within};
use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of priority levels.
pub(crate) struct PriorityLevel;

impl Rules for PriorityLevel {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        within(spec, "exempt", |exempt| {
            fill(exempt, "nominalConcurrencyShares", 0);
            fill(exempt, "lendablePercent", 0);
        });
        within(spec, "limited", |limited| {
            fill(limited, "nominalConcurrencyShares", 30);
            fill(limited, "lendablePercent", 0);
            within(limited, "limitResponse", |response| {
                within(response, "queuing", |queuing| {
                    fill_zero(queuing, "handSize", 8);
                    fill_zero(queuing, "queues", 64);
                    fill_zero(queuing, "queueLengthLimit", 50);
                });
            });
        });
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, true, cx);
        if cx.subresource == "status" {
            strategy::keep_metadata(new, old);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let limited = &spec["limited"];
        match spec["type"].as_str().unwrap_or_default() {
            "Exempt" => {
                if !limited.is_null() {
                    errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
                }
            }
            "Limited" => {
                if !spec["exempt"].is_null() {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                if limited.is_null() {
                    errors.required(&path.child("limited"), "must not be empty when type is Limited");
                } else {
                    validate_limited(limited, &path.child("limited"), errors);
                }
            }
            _ => errors.enumeration(&path.child("type"), &spec["type"], &["Exempt", "Limited"]),
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Type"),
                text("NominalConcurrencyShares"),
                text("Queues"),
                text("HandSize"),
                text("QueueLengthLimit"),
                AGE,
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let queuing = spec.at(&["limited", "limitResponse", "queuing"]);
        let or_none = |v: &Value| if v.is_null() { "<none>".into() } else { v.clone() };
        vec![
            name_cell(object),
            cell(&spec["type"]),
            or_none(spec.at(&["limited", "nominalConcurrencyShares"])),
            or_none(&queuing["queues"]),
            or_none(&queuing["handSize"]),
            or_none(&queuing["queueLengthLimit"]),
            age(object, cx),
        ]
    }
}

fn validate_limited(limited: &Value, path: &Path, errors: &mut FieldErrors) {
    if let Some(n) = limited["nominalConcurrencyShares"].as_i64().filter(|n| *n < 0) {
        errors.invalid(
            &path.child("nominalConcurrencyShares"),
            n,
            "must be a non-negative integer",
        );
    }
    if let Some(n) = limited["lendablePercent"]
        .as_i64()
        .filter(|n| !(0..=100).contains(n))
    {
        errors.invalid(
            &path.child("lendablePercent"),
            n,
            "must be between 0 and 100, inclusive",
        );
    }
    let (response, at) = (&limited["limitResponse"], path.child("limitResponse"));
    let queuing = &response["queuing"];
    match response["type"].as_str().unwrap_or_default() {
        "Reject" => {
            if !queuing.is_null() {
                errors.forbidden(
                    &at.child("queuing"),
                    "must be nil if limited.limitResponse.type is not Limited",
                );
            }
        }
        "Queue" => {
            let at = at.child("queuing");
            if queuing.is_null() {
                errors.required(&at, "must not be empty if limited.limitResponse.type is Limited");
                return;
            }
            for field in ["queues", "handSize", "queueLengthLimit"] {
                let n = queuing[field].as_i64().unwrap_or(0);
                if n <= 0 {
                    errors.invalid(&at.child(field), n, "must be positive");
                }
            }
            let (hand, queues) = (
                queuing["handSize"].as_i64().unwrap_or(0),
                queuing["queues"].as_i64().unwrap_or(0),
            );
            if hand > queues {
                let detail = format!("should not be greater than queues ({queues})");
                errors.invalid(&at.child("handSize"), hand, &detail);
            }
        }
        _ => errors.enumeration(&at.child("type"), &response["type"], &["Queue", "Reject"]),
    }
}
