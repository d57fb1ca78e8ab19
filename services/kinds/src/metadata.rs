//! Rules of `metadata`, the same for every kind.
//!
//! Source: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`.

use machinery::{Map, Value, name};

use crate::{Cx, FieldErrors, Path};

/// All annotations of an object together, in bytes.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

/// What objects of a kind may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A DNS subdomain: most kinds.
    Subdomain,
    /// A DNS label: namespaces.
    Label,
    /// A DNS label that begins with a letter: services.
    Label1035,
    /// Anything that is one segment of a URL path: RBAC's kinds and others.
    PathSegment,
    /// A service account's name: a subdomain.
    ServiceAccount,
}

impl Names {
    /// What is wrong with a name. `prefix` marks a `generateName`, which may end in a dash.
    pub fn check(self, text: &str, prefix: bool) -> Vec<String> {
        // As upstream: the end of a prefix with a dash is replaced by a letter before the whole is looked at.
        let masked = match text.len().checked_sub(2).and_then(|n| text.get(..n)) {
            Some(head) if prefix && text.ends_with('-') => format!("{head}a"),
            _ => text.to_owned(),
        };
        match self {
            Self::Subdomain | Self::ServiceAccount => name::dns1123_subdomain(&masked),
            Self::Label => name::dns1123_label(&masked),
            Self::Label1035 => name::dns1035_label(&masked),
            Self::PathSegment => name::path_segment(text, prefix),
        }
    }
}

/// What is wrong with the metadata of a new object.
pub(crate) fn validate(object: &Value, names: Names, cx: &Cx<'_>, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    let meta = &object["metadata"];
    if let Some(prefix) = meta.str_at(&["generateName"]).filter(|s| !s.is_empty()) {
        errors.invalid_each(&path.child("generateName"), prefix, names.check(prefix, true));
    }
    match meta.str_at(&["name"]).unwrap_or_default() {
        "" => errors.required(&path.child("name"), "name or generateName is required"),
        text => errors.invalid_each(&path.child("name"), text, names.check(text, false)),
    }
    let namespace = meta.str_at(&["namespace"]).unwrap_or_default();
    match (cx.resource.namespaced, namespace) {
        (true, "") => errors.required(&path.child("namespace"), ""),
        (true, text) => errors.invalid_each(&path.child("namespace"), text, Names::Label.check(text, false)),
        (false, "") => {}
        (false, _) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
    }
    errors.nonnegative(&path.child("generation"), &meta["generation"]);
    validate_shared(meta, &path, cx, errors);
}

/// The rules that hold for new and updated objects.
fn validate_shared(meta: &Value, path: &Path, cx: &Cx<'_>, errors: &mut FieldErrors) {
    // Kinds of others may call their finalizers as they like, and upstream forgot some of its own.
    let group = cx.resource.group;
    let lax = [
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "coordination.k8s.io",
        "events.k8s.io",
        "node.k8s.io",
        "policy",
    ];
    let built_in = (!group.contains('.') || group.ends_with(".k8s.io")) && !lax.contains(&group);
    validate_labels(&meta["labels"], &path.child("labels"), errors);
    validate_annotations(&meta["annotations"], &path.child("annotations"), errors);
    validate_owners(&meta["ownerReferences"], &path.child("ownerReferences"), errors);
    validate_finalizers(&meta["finalizers"], &path.child("finalizers"), built_in, errors);
    for (i, entry) in meta.list_at(&["managedFields"]).iter().enumerate() {
        validate_managed(entry, &path.child("managedFields").index(i), errors);
    }
}

/// What is wrong with the metadata of an update.
pub(crate) fn validate_update(new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
    let path = Path::new("metadata");
    let (new, old) = (&new["metadata"], &old["metadata"]);
    if !old["deletionTimestamp"].is_null() {
        let added: Vec<&str> = new
            .list_at(&["finalizers"])
            .iter()
            .filter(|f| !old.list_at(&["finalizers"]).contains(f))
            .filter_map(Value::as_str)
            .collect();
        if !added.is_empty() {
            let mut added = added;
            added.sort_unstable();
            added.dedup();
            let list = added
                .iter()
                .map(|s| format!("{s:?}"))
                .collect::<Vec<_>>()
                .join(", ");
            errors.forbidden(
                &path.child("finalizers"),
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
                ),
            );
        }
    }
    let before = old.int_at(&["generation"]).unwrap_or(0);
    if let Some(n) = new.int_at(&["generation"])
        && n < before
    {
        errors.invalid(&path.child("generation"), n, "must not be decremented");
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let (new, old) = (&new[field], &old[field]);
        // What the client left out was filled in by the API server; absent and "" are the same here.
        if new != old && !(new.is_zero() && old.is_zero()) {
            errors.invalid(&path.child(field), new.clone(), "field is immutable");
        }
    }
    validate_shared(new, &path, cx, errors);
}

/// A map of labels.
pub(crate) fn validate_labels(labels: &Value, path: &Path, errors: &mut FieldErrors) {
    for (key, value) in labels.as_map().into_iter().flat_map(Map::iter) {
        errors.invalid_each(path, key, name::qualified_name(key));
        if let Some(value) = value.as_str() {
            errors.invalid_each(path, value, name::label_value(value));
        }
    }
}

/// A map of annotations: keys, and the size of all together.
pub(crate) fn validate_annotations(annotations: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut size = 0;
    for (key, value) in annotations.as_map().into_iter().flat_map(Map::iter) {
        errors.invalid_each(path, key, name::qualified_name(&key.to_lowercase()));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.too_long(path, ANNOTATIONS_MAX);
    }
}

fn validate_owners(owners: &Value, path: &Path, errors: &mut FieldErrors) {
    let mut controller: Option<String> = None;
    for (i, owner) in owners.as_list().unwrap_or_default().iter().enumerate() {
        let at = path.index(i);
        match owner.str_at(&["apiVersion"]).unwrap_or_default() {
            "" => errors.required(&at.child("apiVersion"), "must not be empty"),
            v if v.split('/').count() > 2 || v.ends_with('/') => {
                errors.invalid(
                    &at.child("apiVersion"),
                    v.to_owned(),
                    "must be <group>/<version> or <version>",
                );
            }
            _ => {}
        }
        for field in ["kind", "name", "uid"] {
            if owner.str_at(&[field]).unwrap_or_default().is_empty() {
                errors.required(&at.child(field), "must not be empty");
            }
        }
        let kind = owner.str_at(&["kind"]).unwrap_or_default();
        if kind == "Event" && owner.str_at(&["apiVersion"]) == Some("v1") {
            errors.invalid(
                &at,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if owner["controller"].as_bool() == Some(true) {
            let this = format!("{kind}/{}", owner.str_at(&["name"]).unwrap_or_default());
            match &controller {
                Some(first) => errors.invalid(
                    path,
                    owners.clone(),
                    &format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                ),
                None => controller = Some(this),
            }
        }
    }
}

fn validate_finalizers(finalizers: &Value, path: &Path, built_in: bool, errors: &mut FieldErrors) {
    let list = finalizers.as_list().unwrap_or_default();
    for (i, text) in list.iter().filter_map(Value::as_str).enumerate() {
        errors.invalid_each(path, text, name::qualified_name(text));
        if built_in && !text.contains('/') && !matches!(text, "kubernetes" | "orphan" | "foregroundDeletion")
        {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path.index(i), text.to_owned(), detail);
        }
    }
    let has = |name: &str| list.iter().any(|f| f.as_str() == Some(name));
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(
            path,
            finalizers.clone(),
            "finalizer orphan and foregroundDeletion cannot be both set",
        );
    }
}

fn validate_managed(entry: &Value, path: &Path, errors: &mut FieldErrors) {
    match entry.str_at(&["operation"]).unwrap_or_default() {
        "" => errors.required(&path.child("operation"), "must not be empty"),
        "Apply" | "Update" => {}
        other => errors.not_supported(&path.child("operation"), other.to_owned(), &["Apply", "Update"]),
    }
    if let Some(other) = entry
        .str_at(&["fieldsType"])
        .filter(|t| !t.is_empty() && *t != "FieldsV1")
    {
        errors.invalid(&path.child("fieldsType"), other.to_owned(), "must be `FieldsV1`");
    }
    if entry.str_at(&["manager"]).is_some_and(|m| m.len() > 128) {
        errors.too_long(&path.child("manager"), 128);
    }
    if entry.str_at(&["subresource"]).is_some_and(|m| m.len() > 256) {
        errors.too_long(&path.child("subresource"), 256);
    }
}
