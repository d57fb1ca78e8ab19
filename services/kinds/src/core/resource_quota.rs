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
            let bad = name::qualified_name(key);
            if bad.is_empty() && !key.contains('/') && !is_counted(key) {
                let detail = "must be a standard resource type or fully qualified";
                errors.invalid(&path, key.to_owned(), detail);
            }
            errors.invalid_each(&path, key, bad);
            if !key.contains('/') && !is_counted(key) {
                errors.invalid(&path, key.to_owned(), "must be a standard resource for quota");
            }
            let Some(quantity) = amount(hard, key) else {
                continue;
            };
            if quantity.sign() < 0 {
                errors.invalid(&path, value.clone(), "must be greater than or equal to 0");
            }
            if (OBJECTS.contains(&key) || key.starts_with("count/")) && !quantity.is_whole() {
                errors.invalid(&path, value.clone(), "must be an integer");
            }
        }
        validate_scopes(object, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (new, old) = (new.at(&["spec", "scopes"]), old.at(&["spec", "scopes"]));
        if cx.subresource.is_empty() && !equal(new, old) {
            let shown = if new.is_null() {
                Value::List(Vec::new())
            } else {
                new.clone()
            };
            errors.invalid(&Path::new("spec.scopes"), shown, "field is immutable");
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

/// Objects that are counted.
const OBJECTS: [&str; 9] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources of pods that are summed up.
const COMPUTE: [&str; 9] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

fn is_counted(key: &str) -> bool {
    OBJECTS.contains(&key)
        || COMPUTE.contains(&key)
        || key == "requests.storage"
        || key.starts_with("hugepages-")
        || key.starts_with("requests.hugepages-")
}

fn validate_scopes(object: &Value, errors: &mut FieldErrors) {
    let path = Path::new("spec.scopes");
    let scopes = object.at(&["spec", "scopes"]);
    let known = [
        "BestEffort",
        "CrossNamespacePodAffinity",
        "NotBestEffort",
        "NotTerminating",
        "PriorityClass",
        "Terminating",
        "VolumeAttributesClass",
    ];
    let list = crate::table::strings(object, &["spec", "scopes"]);
    for scope in &list {
        if !known.contains(scope) {
            errors.invalid(&path, scopes.clone(), "unsupported scope");
        }
        for key in object
            .at(&["spec", "hard"])
            .as_map()
            .into_iter()
            .flat_map(Map::keys)
        {
            let fits = match *scope {
                "BestEffort" => key == "pods",
                "Terminating"
                | "NotTerminating"
                | "NotBestEffort"
                | "PriorityClass"
                | "CrossNamespacePodAffinity" => key == "pods" || COMPUTE.contains(&key),
                "VolumeAttributesClass" => key == "persistentvolumeclaims" || key == "requests.storage",
                _ => true,
            };
            if is_counted(key) && !fits {
                errors.invalid(&path, scopes.clone(), "unsupported scope applied to resource");
            }
        }
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|s| list.contains(s)) {
            errors.invalid(&path, scopes.clone(), "conflicting scopes");
        }
    }
}
