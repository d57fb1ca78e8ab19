//! Namespace.

use machinery::{Value, name};

use crate::table::{AGE, NAME, age, cell, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Names, Path, Rules, strategy};

/// The finalizer that every namespace begins with.
const FINALIZER: &str = "kubernetes";
/// The label that repeats the name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Rules of namespaces.
pub(crate) struct Namespace;

impl Rules for Namespace {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        label(object);
        crate::edit::fill_zero(object.at_mut(&["status"]), "phase", "Active");
    }

    fn prepare_create(&self, object: &mut Value, _cx: &Cx<'_>) {
        label(object);
        let mut status = machinery::Map::new();
        status.insert("phase", "Active");
        object.at_mut(&[]).insert("status", status);
        let finalizers = object
            .at_mut(&["spec"])
            .entry("finalizers", || Value::List(Vec::new()));
        if let Value::List(list) = finalizers
            && !list.iter().any(|f| f.as_str() == Some(FINALIZER))
        {
            list.push(FINALIZER.into());
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        match cx.subresource {
            "" => {
                let finalizers = old.at(&["spec", "finalizers"]).clone();
                strategy::put(new.at_mut(&["spec"]), "finalizers", finalizers);
                strategy::keep(new, old, "status");
            }
            "finalize" => strategy::keep(new, old, "status"),
            _ => strategy::keep_all_but(new, old, &["metadata", "status"]),
        }
        label(new);
        strategy::put(
            new.at_mut(&["metadata"]),
            "generation",
            old.at(&["metadata", "generation"]).clone(),
        );
    }

    fn names(&self, _cx: &Cx<'_>) -> Names {
        Names::Label
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        for finalizer in object.list_at(&["spec", "finalizers"]) {
            let path = Path::new("spec.finalizers");
            let text = finalizer.as_str().unwrap_or_default();
            let bad = name::qualified_name(text);

            errors.invalid_each(&path, text, bad);
            if !text.contains('/') && text != FINALIZER && !matches!(text, "orphan" | "foregroundDeletion") {
                errors.invalid(
                    &path,
                    text.to_owned(),
                    "name is neither a standard finalizer name nor is it fully qualified",
                );
            }
        }
    }

    fn validate_update(&self, new: &Value, _old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource != "status" {
            return;
        }
        let deleting = !new.at(&["metadata", "deletionTimestamp"]).is_null();
        let phase = new.str_at(&["status", "phase"]).unwrap_or_default();
        let path = Path::new("status.Phase");
        if deleting && phase != "Terminating" {
            errors.invalid(
                &path,
                phase.to_owned(),
                "may only be 'Terminating' if `deletionTimestamp` is not empty",
            );
        } else if !deleting && phase != "Active" {
            errors.invalid(
                &path,
                phase.to_owned(),
                "may only be 'Active' if `deletionTimestamp` is empty",
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Status"), AGE] }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        vec![
            name_cell(object),
            cell(object.at(&["status", "phase"])),
            age(object, cx),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "status.phase",
            object.str_at(&["status", "phase"]).unwrap_or_default().to_owned(),
        )]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["status.phase"]
    }
}

fn label(object: &mut Value) {
    let name = object
        .str_at(&["metadata", "name"])
        .unwrap_or_default()
        .to_owned();
    if !name.is_empty() {
        object.at_mut(&["metadata", "labels"]).insert(NAME_LABEL, name);
    }
}
