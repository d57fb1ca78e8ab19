//! ResourceQuota.

use machinery::{Map, Value, name};

use crate::edit::within;
use crate::table::{AGE, NAME, age, name as name_cell, text};
use crate::types::resources::{amount, default_list};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal};

/// Rules of quotas.
pub(crate) struct ResourceQuota;

impl Rules for ResourceQuota {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        within(object.at_mut(&["spec"]), "hard", default_list);
        for key in ["hard", "used"] {
            within(object.at_mut(&["status"]), key, default_list);
        }
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let hard = object.at(&["spec", "hard"]);
        for (key, value) in hard.as_map().into_iter().flat_map(Map::iter) {
            let path = Path::new("spec.hard").key(key);
            errors.invalid_each(&path, key, name::qualified_name(key));
            if amount(hard, key).is_some_and(|q| q.sign() < 0) {
                let text = value.as_str().unwrap_or_default().to_owned();
                errors.invalid(&path, text, "must be greater than or equal to 0");
            }
            if (key == "pods" || key.starts_with("count/") || key == "services")
                && amount(hard, key).is_some_and(|q| !q.is_whole())
            {
                errors.invalid(&path, value.clone(), "must be an integer");
            }
        }
        let known = [
            "BestEffort",
            "CrossNamespacePodAffinity",
            "NotBestEffort",
            "NotTerminating",
            "PriorityClass",
            "Terminating",
            "VolumeAttributesClass",
        ];
        for scope in object
            .list_at(&["spec", "scopes"])
            .iter()
            .filter_map(Value::as_str)
        {
            if !known.contains(&scope) {
                errors.invalid(
                    &Path::new("spec.scopes"),
                    object.at(&["spec", "scopes"]).clone(),
                    "unsupported scope",
                );
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (new, old) = (new.at(&["spec", "scopes"]), old.at(&["spec", "scopes"]));
        if cx.subresource.is_empty() && !equal(new, old) {
            errors.invalid(&Path::new("spec.scopes"), new.clone(), "field is immutable");
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Request"), text("Limit"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let status = &object["status"];
        let mut keys: Vec<&str> = status["hard"].as_map().into_iter().flat_map(Map::keys).collect();
        keys.sort_unstable();
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for key in keys {
            let text = |list: &str| status[list][key].as_str().unwrap_or("0").to_owned();
            let side = if key.starts_with("limits.") {
                &mut limits
            } else {
                &mut requests
            };
            side.push(format!("{key}: {}/{}", text("used"), text("hard")));
        }
        vec![
            name_cell(object),
            requests.join(", ").into(),
            limits.join(", ").into(),
            age(object, cx),
        ]
    }
}
