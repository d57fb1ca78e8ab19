//! `ResourceList` and `ResourceRequirements`.

use machinery::quantity::Quantity;
use machinery::{Map, Value, name};

use crate::edit::{fill_from, within};
use crate::{FieldErrors, Path};

/// Kubernetes counts resources in thousandths; finer amounts are rounded up.
pub(crate) fn default_list(list: &mut Map) {
    for (_, value) in list.iter_mut() {
        let Some(quantity) = value.as_str().and_then(|s| Quantity::parse(s).ok()) else {
            continue;
        };
        let rounded = Quantity::from_millis(quantity.millis(), quantity.format());
        if rounded > quantity || (quantity.sign() < 0 && rounded < quantity) {
            *value = rounded.to_string().into();
        }
    }
}

/// [`default_list`] for the requests and limits under `key`.
pub(crate) fn default_requirements(map: &mut Map, key: &'static str) {
    within(map, key, |resources| {
        within(resources, "limits", default_list);
        within(resources, "requests", default_list);
    });
}

/// Requests that are not given are as large as the limits. Only pods get this, templates do not.
pub(crate) fn requests_from_limits(container: &mut Map) {
    within(container, "resources", |resources| {
        if let Some(Value::Map(limits)) = resources.get("limits").cloned() {
            fill_from(resources.map_entry("requests"), &limits);
        }
    });
}

/// An amount in a list; zero if there is none.
pub(crate) fn amount(list: &Value, name: &str) -> Option<Quantity> {
    list[name].as_str().and_then(|s| Quantity::parse(s).ok())
}

/// Whether more may be promised than there is: only of what Kubernetes itself knows, huge pages excepted.
fn overcommits(resource: &str) -> bool {
    let native = !resource.contains('/') || resource.contains("kubernetes.io/");
    native && !resource.starts_with("hugepages-")
}

/// What is wrong with a container's resource by its name.
pub(crate) fn check_name(resource: &str, path: &Path, errors: &mut FieldErrors) {
    let bad = name::qualified_name(resource);
    if !bad.is_empty() {
        errors.invalid_each(path, resource, bad);
        return;
    }
    if resource.contains('/') {
        let native = resource.contains("kubernetes.io/");
        let requests = resource.starts_with("requests.");
        if !native && (requests || !name::qualified_name(&format!("requests.{resource}")).is_empty()) {
            errors.invalid(
                path,
                resource.to_owned(),
                "doesn't follow extended resource name standard",
            );
        }
    } else if !matches!(resource, "cpu" | "memory" | "ephemeral-storage")
        && !resource.starts_with("hugepages-")
    {
        errors.invalid(
            path,
            resource.to_owned(),
            "must be a standard resource type or fully qualified",
        );
        errors.invalid(
            path,
            resource.to_owned(),
            "must be a standard resource for containers",
        );
    }
}

/// What is wrong with an amount of a resource.
pub(crate) fn check_amount(resource: &str, text: &Value, path: &Path, errors: &mut FieldErrors) {
    let Some(quantity) = text.as_str().and_then(|s| Quantity::parse(s).ok()) else {
        return;
    };
    if quantity.sign() < 0 {
        errors.invalid(path, text.clone(), "must be greater than or equal to 0");
    }
    let counted = resource.contains('/') && !resource.contains("kubernetes.io/");
    if counted && !quantity.is_whole() {
        errors.invalid(path, text.clone(), "must be an integer");
    }
}

/// What is wrong with a container's requests and limits.
pub(crate) fn validate_requirements(resources: &Value, path: &Path, errors: &mut FieldErrors) {
    let entries = |list: &'static str| resources[list].as_map().into_iter().flat_map(Map::iter);
    let (mut huge, mut basic) = (false, false);
    for list in ["limits", "requests"] {
        for (resource, text) in entries(list) {
            let at = path.child(list).key(resource);
            check_name(resource, &at, errors);
            check_amount(resource, text, &at, errors);
            huge |= resource.starts_with("hugepages-");
            basic |= matches!(resource, "cpu" | "memory");
            if list == "limits" {
                continue;
            }
            let at = path.child("requests");
            let shown = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            match (
                amount(&resources["limits"], resource),
                amount(&resources["requests"], resource),
            ) {
                (Some(limit), Some(request)) => {
                    let most = shown(&resources["limits"][resource]);
                    if request != limit && !overcommits(resource) {
                        errors.invalid(
                            &at,
                            shown(text),
                            &format!("must be equal to {resource} limit of {most}"),
                        );
                    } else if request > limit {
                        let detail = format!("must be less than or equal to {resource} limit of {most}");
                        errors.invalid(&at, shown(text), &detail);
                    }
                }
                (None, Some(_)) if !overcommits(resource) => {
                    errors.required(
                        &path.child("limits"),
                        "Limit must be set for non overcommitable resources",
                    );
                }
                _ => {}
            }
        }
    }
    if huge && !basic {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}
