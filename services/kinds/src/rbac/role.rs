//! Role and ClusterRole.

use machinery::Value;

use crate::table::{NAME_AND_CREATED, name_and_created};
use crate::types::label_selector;
use crate::{Column, Cx, FieldErrors, Names, Path, Rules};

/// Rules of roles.
pub(crate) struct Role;

impl Rules for Role {
    fn names(&self, _cx: &Cx<'_>) -> Names {
        Names::PathSegment
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        for (i, rule) in object.list_at(&["rules"]).iter().enumerate() {
            validate_rule(rule, cx.resource.namespaced, &Path::new("rules").index(i), errors);
        }
        let aggregation = &object["aggregationRule"];
        if aggregation.is_null() {
            return;
        }
        let path = Path::new("aggregationRule.clusterRoleSelectors");
        let selectors = aggregation.list_at(&["clusterRoleSelectors"]);
        if selectors.is_empty() {
            errors.required(
                &path,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            );
        }
        for (i, selector) in selectors.iter().enumerate() {
            label_selector::validate(selector, &path.index(i), errors);
        }
    }

    fn columns(&self) -> &'static [Column] {
        NAME_AND_CREATED
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        name_and_created(object)
    }
}

fn validate_rule(rule: &Value, namespaced: bool, path: &Path, errors: &mut FieldErrors) {
    if rule["verbs"].is_zero() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    let urls = &rule["nonResourceURLs"];
    if !urls.is_zero() {
        let at = path.child("nonResourceURLs");
        if namespaced {
            errors.invalid(
                &at,
                urls.clone(),
                "namespaced rules cannot apply to non-resource URLs",
            );
        }
        if ["apiGroups", "resources", "resourceNames"]
            .iter()
            .any(|f| !rule[*f].is_zero())
        {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.invalid(&at, urls.clone(), detail);
        }
        return;
    }
    if rule["apiGroups"].is_zero() {
        errors.required(
            &path.child("apiGroups"),
            "resource rules must supply at least one api group",
        );
    }
    if rule["resources"].is_zero() {
        errors.required(
            &path.child("resources"),
            "resource rules must supply at least one resource",
        );
    }
}
