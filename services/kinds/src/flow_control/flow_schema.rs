//! FlowSchema.

use machinery::{Value, name};

use crate::edit::fill_zero;
use crate::table::{AGE, NAME, age, cell, int, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, strategy};

/// Rules of flow schemas.
pub(crate) struct FlowSchema;

impl Rules for FlowSchema {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        fill_zero(object.at_mut(&["spec"]), "matchingPrecedence", 1000);
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
        let precedence = spec["matchingPrecedence"].as_i64().unwrap_or(0);
        let at = path.child("matchingPrecedence");
        if precedence <= 0 {
            errors.invalid(&at, precedence, "must be a positive value");
        } else if precedence > 10000 {
            errors.invalid(&at, precedence, "must not be greater than 10000");
        }
        if precedence == 1 && object.str_at(&["metadata", "name"]) != Some("exempt") {
            errors.invalid(
                &at,
                precedence,
                "only the schema named 'exempt' may have matchingPrecedence 1",
            );
        }
        if let Some(kind) = spec["distinguisherMethod"].as_map() {
            let kind = kind.get("type").cloned().unwrap_or_default();
            let known = ["ByNamespace", "ByUser"];
            errors.enumeration(&path.child("distinguisherMethod.type"), &kind, &known);
        }
        let at = path.child("priorityLevelConfiguration.name");
        match spec
            .str_at(&["priorityLevelConfiguration", "name"])
            .unwrap_or_default()
        {
            "" => errors.required(&at, "must reference a priority level"),
            text => errors.invalid_each(&at, text, name::dns1123_subdomain(text)),
        }
        for (i, rule) in spec.list_at(&["rules"]).iter().enumerate() {
            let at = path.child("rules").index(i);
            if rule["subjects"].is_zero() {
                errors.required(&at.child("subjects"), "subjects must contain at least one value");
            }
            if rule["resourceRules"].is_zero() && rule["nonResourceRules"].is_zero() {
                let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
                errors.required(&at, detail);
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("PriorityLevel"),
                text("MatchingPrecedence"),
                text("DistinguisherMethod"),
                AGE,
                text("MissingPL"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let dangling = object
            .list_at(&["status", "conditions"])
            .iter()
            .find(|c| c["type"].as_str() == Some("Dangling"));
        let method = spec.str_at(&["distinguisherMethod", "type"]).unwrap_or("<none>");
        vec![
            name_cell(object),
            cell(spec.at(&["priorityLevelConfiguration", "name"])),
            int(&spec["matchingPrecedence"]),
            method.to_owned().into(),
            age(object, cx),
            dangling.map_or("?".into(), |c| cell(&c["status"])),
        ]
    }
}
