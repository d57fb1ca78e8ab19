//! CustomResourceDefinition.

mod schema;

use machinery::{Map, Value, name};

use crate::edit::{fill, fill_zero, text, within};
use crate::table::{NAME_AND_CREATED, name_and_created};
use crate::{Column, Cx, FieldErrors, Path, Rules, equal, strategy};

/// Rules of custom resource definitions.
pub(crate) struct Definition;

impl Rules for Definition {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        let spec = object.at_mut(&["spec"]);
        let names = spec.map_entry("names");
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            fill_zero(names, "singular", kind.to_lowercase());
            fill_zero(names, "listKind", format!("{kind}List"));
        }
        let conversion = spec.entry("conversion", || machinery::value!({"strategy": "None"}));
        if let Value::Map(conversion) = conversion {
            within(conversion, "webhook", |webhook| {
                within(webhook, "clientConfig", |client| {
                    within(client, "service", |service| fill(service, "port", 443));
                });
            });
        }
        remember_stored(object, true);
    }

    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, true, cx);
        let status = object.at_mut(&["status"]);
        status.insert("conditions", Value::List(Vec::new()));
        let mut names = Map::new();
        names.insert("plural", "");
        names.insert("kind", "");
        status.insert("acceptedNames", names);
        remember_stored(object, false);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, true, cx);
        if cx.subresource.is_empty() {
            remember_stored(new, false);
        }
    }

    fn counts_generations(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (spec, path) = (&object["spec"], Path::new("spec"));
        let called = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let plural = spec.str_at(&["names", "plural"]).unwrap_or_default();
        let group = spec["group"].as_str().unwrap_or_default();
        if !called.is_empty() && called != format!("{plural}.{group}") {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.invalid(&Path::new("metadata.name"), called.to_owned(), detail);
        }
        let at = path.child("group");
        if group.is_empty() {
            errors.required(&at, "");
        } else {
            let bad = name::dns1123_subdomain(group);
            if !bad.is_empty() {
                errors.invalid(&at, group.to_owned(), &bad.join(","));
            } else if !group.contains('.') {
                errors.invalid(&at, group.to_owned(), "should be a domain with at least one dot");
            }
        }
        errors.enumeration(&path.child("scope"), &spec["scope"], &["Cluster", "Namespaced"]);
        validate_versions(spec, &path, errors);
        validate_names(&spec["names"], &path.child("names"), errors);
        validate_conversion(&spec["conversion"], &path.child("conversion"), errors);
        let stored = object.list_at(&["status", "storedVersions"]);
        for (i, version) in stored.iter().enumerate() {
            if !spec.list_at(&["versions"]).iter().any(|v| v["name"] == *version) {
                let detail = "missing from spec.versions; v1 was previously a storage version, and must remain in \
                              spec.versions until a storage migration ensures no data remains persisted in it and \
                              removes it from status.storedVersions";
                let detail = detail.replace("v1", version.as_str().unwrap_or_default());
                errors.invalid(
                    &Path::new("status.storedVersions").index(i),
                    version.clone(),
                    &detail,
                );
            }
        }
        if group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io") {
            let approval = object.at(&["metadata", "annotations"])["api-approved.kubernetes.io"].as_str();
            let fits = approval.is_some_and(|t| t.starts_with("http") || t.starts_with("unapproved"));
            if !fits {
                let at = Path::new("metadata.annotations").key("api-approved.kubernetes.io");
                let detail = "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111";
                errors.required(&at, detail);
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if !cx.subresource.is_empty() {
            return;
        }
        let established = old
            .list_at(&["status", "conditions"])
            .iter()
            .any(|c| c["type"].as_str() == Some("Established") && c["status"].as_str() == Some("True"));
        let mut fixed = vec![&["group"][..], &["names", "plural"]];
        if established {
            fixed.extend([&["scope"][..], &["names", "kind"]]);
        }
        for path in fixed {
            let (a, b) = (new["spec"].at(path), old["spec"].at(path));
            if !equal(a, b) {
                errors.immutable(&Path::new("spec").child(&path.join(".")), a, b);
            }
        }
    }

    fn columns(&self) -> &'static [Column] {
        NAME_AND_CREATED
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        name_and_created(object)
    }
}

/// The version that objects are stored in is remembered; with `only_first` only if none is yet.
fn remember_stored(object: &mut Value, only_first: bool) {
    let versions = object.list_at(&["spec", "versions"]);
    let stored = versions
        .iter()
        .find(|v| v["storage"].as_bool() == Some(true))
        .map(|v| v["name"].clone());
    let Some(stored) = stored else { return };
    let list = object
        .at_mut(&["status"])
        .entry("storedVersions", || Value::List(Vec::new()));
    if let Value::List(list) = list
        && !list.contains(&stored)
        && (list.is_empty() || !only_first)
    {
        list.push(stored);
    }
}

fn validate_versions(spec: &Value, path: &Path, errors: &mut FieldErrors) {
    let (versions, at) = (spec.list_at(&["versions"]), path.child("versions"));
    let mut names: Vec<&str> = Vec::new();
    for (i, version) in versions.iter().enumerate() {
        let at = at.index(i);
        let text = version["name"].as_str().unwrap_or_default();
        let bad = name::dns1035_label(text);
        if !bad.is_empty() {
            errors.invalid(&at.child("name"), text.to_owned(), &bad.join(","));
        }
        let schema = version.at(&["schema", "openAPIV3Schema"]);
        let under = at.child("schema.openAPIV3Schema");
        if schema.is_null() {
            errors.required(&under, "");
        } else {
            schema::validate_root(schema, &under, errors);
        }
        validate_scale(
            version.at(&["subresources", "scale"]),
            &at.child("subresources.scale"),
            errors,
        );
        for (j, column) in version.list_at(&["additionalPrinterColumns"]).iter().enumerate() {
            validate_column(column, &at.child("additionalPrinterColumns").index(j), errors);
        }
        names.push(text);
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    if names.len() != count {
        errors.invalid(&at, spec["versions"].clone(), "must contain unique version names");
    }
    if versions
        .iter()
        .filter(|v| v["storage"].as_bool() == Some(true))
        .count()
        != 1
    {
        let detail = "must have exactly one version marked as storage version";
        errors.invalid(&at, spec["versions"].clone(), detail);
    }
}

fn validate_scale(scale: &Value, path: &Path, errors: &mut FieldErrors) {
    if scale.is_null() {
        return;
    }
    for (field, start) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        match scale[field].as_str().unwrap_or_default() {
            "" => errors.required(&path.child(field), ""),
            text if !text.starts_with(start) => {
                let parent = start.trim_end_matches('.');
                errors.invalid(
                    &path.child(field),
                    text.to_owned(),
                    &format!("should be a json path under {parent}"),
                );
            }
            _ => {}
        }
    }
    if let Some(text) = scale["labelSelectorPath"].as_str().filter(|t| !t.is_empty())
        && !text.starts_with(".spec.")
        && !text.starts_with(".status.")
    {
        let detail = "should be a json path under either .spec or .status";
        errors.invalid(&path.child("labelSelectorPath"), text.to_owned(), detail);
    }
}

fn validate_column(column: &Value, path: &Path, errors: &mut FieldErrors) {
    if column["name"].is_zero() {
        errors.required(&path.child("name"), "");
    }
    let known = ["boolean", "date", "integer", "number", "string"];
    match column["type"].as_str().unwrap_or_default() {
        "" => errors.required(
            &path.child("type"),
            "must be one of boolean,date,integer,number,string",
        ),
        text if !known.contains(&text) => {
            let detail = "must be one of boolean,date,integer,number,string";
            errors.invalid(&path.child("type"), text.to_owned(), detail);
        }
        _ => {}
    }
    match column["jsonPath"].as_str().unwrap_or_default() {
        "" => errors.required(&path.child("jsonPath"), ""),
        text if !text.starts_with('.') => {
            let detail = "must be a simple json path starting with .";
            errors.invalid(&path.child("jsonPath"), text.to_owned(), detail);
        }
        _ => {}
    }
}

fn validate_names(names: &Value, path: &Path, errors: &mut FieldErrors) {
    for field in ["plural", "singular", "kind", "listKind"] {
        let text = names[field].as_str().unwrap_or_default();
        let at = path.child(field);
        if text.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let mixed = field.ends_with("ind");
        let bad = name::dns1035_label(&if mixed {
            text.to_lowercase()
        } else {
            text.to_owned()
        })
        .join(",");
        if !bad.is_empty() {
            let detail = if mixed {
                format!("may have mixed case, but should otherwise match: {bad}")
            } else {
                bad
            };
            errors.invalid(&at, text.to_owned(), &detail);
        }
    }
    for field in ["shortNames", "categories"] {
        for (i, text) in names
            .list_at(&[field])
            .iter()
            .filter_map(Value::as_str)
            .enumerate()
        {
            let bad = name::dns1035_label(text).join(",");
            if !bad.is_empty() {
                errors.invalid(&path.child(field).index(i), text.to_owned(), &bad);
            }
        }
    }
    if !names["kind"].is_zero() && names["kind"] == names["listKind"] {
        let detail = "kind and listKind may not be the same";
        errors.invalid(&path.child("listKind"), names["listKind"].clone(), detail);
    }
}

fn validate_conversion(conversion: &Value, path: &Path, errors: &mut FieldErrors) {
    let webhook = &conversion["webhook"];
    match conversion["strategy"].as_str().unwrap_or_default() {
        "Webhook" => {
            let (client, at) = (&webhook["clientConfig"], path.child("webhookClientConfig"));
            if client.is_null() {
                errors.required(&at, "required when strategy is set to Webhook");
            } else if client["url"].is_null() == client["service"].is_null() {
                errors.required(&at, "exactly one of url or service is required");
            }
            let versions = webhook.list_at(&["conversionReviewVersions"]);
            let at = path.child("conversionReviewVersions");
            if versions.is_empty() {
                errors.required(&at, "");
            } else if !versions
                .iter()
                .any(|v| matches!(v.as_str(), Some("v1" | "v1beta1")))
            {
                let detail = "must include at least one of v1, v1beta1";
                errors.invalid(&at, webhook["conversionReviewVersions"].clone(), detail);
            }
        }
        "None" => {
            if !webhook.is_null() {
                let detail = "should not be set when strategy is not set to Webhook";
                errors.forbidden(&path.child("webhookClientConfig"), detail);
            }
        }
        _ => errors.enumeration(
            &path.child("strategy"),
            &conversion["strategy"],
            &["None", "Webhook"],
        ),
    }
}
