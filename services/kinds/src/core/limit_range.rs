//! LimitRange.

use machinery::quantity::{Format, Quantity};
use machinery::{Map, Value, name};

use crate::edit::{each, fill_from, text, within};
use crate::table::{NAME_AND_CREATED, name_and_created};
use crate::types::resources::{amount, default_list};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of limit ranges.
pub(crate) struct LimitRange;

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

impl Rules for LimitRange {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        each(object.at_mut(&["spec"]), "limits", |item| {
            if text(item, "type") == "Container" {
                let get = |item: &Map, key: &str| {
                    item.get(key).and_then(Value::as_map).cloned().unwrap_or_default()
                };
                let (max, min) = (get(item, "max"), get(item, "min"));
                fill_from(item.map_entry("default"), &max);
                let default = get(item, "default");
                let request = item.map_entry("defaultRequest");
                fill_from(request, &default);
                fill_from(request, &min);
                for key in ["default", "defaultRequest"] {
                    if get(item, key).is_empty() {
                        item.remove(key);
                    }
                }
            }
            for key in LISTS {
                within(item, key, default_list);
            }
        });
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let mut seen = Vec::new();
        for (i, item) in object.list_at(&["spec", "limits"]).iter().enumerate() {
            let path = Path::new("spec.limits").index(i);
            let kind = item["type"].as_str().unwrap_or_default();
            let bad = name::qualified_name(kind);
            errors.invalid_each(&path.child("type"), kind, bad);
            if seen.contains(&kind) {
                errors.duplicate(&path.child("type"), kind.to_owned());
            }
            seen.push(kind);
            validate_item(item, kind, &path, errors);
        }
    }

    fn columns(&self) -> &'static [Column] {
        NAME_AND_CREATED
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        name_and_created(object)
    }
}

fn validate_item(item: &Value, kind: &str, path: &Path, errors: &mut FieldErrors) {
    if kind == "Pod" {
        for key in ["default", "defaultRequest"] {
            if !item[key].is_zero() {
                errors.forbidden(&path.child(key), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    if kind == "PersistentVolumeClaim"
        && ["min", "max"]
            .iter()
            .all(|k| amount(&item[*k], "storage").is_none())
    {
        errors.required(
            &path.child("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    let mut keys: Vec<&str> = LISTS
        .iter()
        .flat_map(|l| item[*l].as_map().into_iter().flat_map(Map::keys))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        validate_bounds(item, key, path, errors);
    }
}

/// The bounds of one resource against each other.
fn validate_bounds(item: &Value, key: &str, path: &Path, errors: &mut FieldErrors) {
    let text = |list: &str| item[list][key].as_str().unwrap_or_default().to_owned();
    // Which list must not be above which, where that is said with which value, and in which words.
    for (low, high, at, shown, what) in [
        ("min", "max", "min", "min", ["min", "max"]),
        (
            "min",
            "defaultRequest",
            "defaultRequest",
            "defaultRequest",
            ["min", "default request"],
        ),
        (
            "defaultRequest",
            "max",
            "defaultRequest",
            "defaultRequest",
            ["default request", "max"],
        ),
        (
            "defaultRequest",
            "default",
            "defaultRequest",
            "defaultRequest",
            ["default request", "default limit"],
        ),
        ("min", "default", "default", "min", ["min", "default"]),
        ("default", "max", "default", "max", ["default", "max"]),
    ] {
        if let (Some(a), Some(b)) = (amount(&item[low], key), amount(&item[high], key))
            && a > b
        {
            let [name, other] = what;
            let detail = format!(
                "{name} value {} is greater than {other} value {}",
                text(low),
                text(high)
            );
            errors.invalid(&path.child(at).key(key), text(shown), &detail);
        }
    }
    let one = Quantity::new(1, Format::DecimalSi);
    if amount(&item["maxLimitRequestRatio"], key).is_some_and(|r| r < one) {
        let ratio = text("maxLimitRequestRatio");
        let detail = format!("ratio {ratio} is less than 1");
        errors.invalid(&path.child("maxLimitRequestRatio").key(key), ratio, &detail);
    }
}
