//! RoleBinding and ClusterRoleBinding.

use machinery::{Value, name};

use crate::edit::{each, fill_zero, text};
use crate::table::{AGE, NAME, age, name as name_cell, text as string, wide};
use crate::{Column, Cx, FieldErrors, Names, Path, Rules, equal};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Rules of bindings.
pub(crate) struct Binding;

impl Rules for Binding {
    fn default(&self, object: &mut Value, _cx: &Cx<'_>) {
        fill_zero(object.at_mut(&["roleRef"]), "apiGroup", GROUP);
        each(object.at_mut(&[]), "subjects", |subject| {
            if matches!(text(subject, "kind"), "User" | "Group") {
                fill_zero(subject, "apiGroup", GROUP);
            }
        });
    }

    fn names(&self, _cx: &Cx<'_>) -> Names {
        Names::PathSegment
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        let (role, path) = (&object["roleRef"], Path::new("roleRef"));
        let of = |field: &str| role[field].as_str().unwrap_or_default();
        if of("apiGroup") != GROUP {
            errors.not_supported(&path.child("apiGroup"), of("apiGroup").to_owned(), &[GROUP]);
        }
        let known: &[&str] = if cx.resource.namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        if !known.contains(&of("kind")) {
            errors.not_supported(&path.child("kind"), of("kind").to_owned(), known);
        }
        match of("name") {
            "" => errors.required(&path.child("name"), ""),
            text => errors.invalid_each(&path.child("name"), text, name::path_segment(text, false)),
        }
        for (i, subject) in object.list_at(&["subjects"]).iter().enumerate() {
            validate_subject(
                subject,
                cx.resource.namespaced,
                &Path::new("subjects").index(i),
                errors,
            );
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        if !equal(&new["roleRef"], &old["roleRef"]) {
            errors.invalid(
                &Path::new("roleRef"),
                new["roleRef"].clone(),
                "cannot change roleRef",
            );
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                string("Role"),
                AGE,
                wide("Users"),
                wide("Groups"),
                wide("ServiceAccounts"),
            ]
        }
    }

    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        let of = |field: &str| object["roleRef"][field].as_str().unwrap_or_default();
        let subjects = |kind: &str| -> Value {
            let some = object
                .list_at(&["subjects"])
                .iter()
                .filter(|s| s["kind"].as_str() == Some(kind));
            let names = some.map(|s| {
                let name = s["name"].as_str().unwrap_or_default();
                match kind {
                    "ServiceAccount" => format!("{}/{name}", s["namespace"].as_str().unwrap_or_default()),
                    _ => name.to_owned(),
                }
            });
            names.collect::<Vec<_>>().join(", ").into()
        };
        vec![
            name_cell(object),
            format!("{}/{}", of("kind"), of("name")).into(),
            age(object, cx),
            subjects("User"),
            subjects("Group"),
            subjects("ServiceAccount"),
        ]
    }
}

fn validate_subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut FieldErrors) {
    let of = |field: &str| subject[field].as_str().unwrap_or_default();
    if of("name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    let group = of("apiGroup").to_owned();
    match of("kind") {
        "ServiceAccount" => {
            if !of("name").is_empty() {
                errors.invalid_each(
                    &path.child("name"),
                    of("name"),
                    name::dns1123_subdomain(of("name")),
                );
            }
            if !group.is_empty() {
                errors.not_supported(&path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && of("namespace").is_empty() {
                errors.required(&path.child("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(
            &path.child("kind"),
            other.to_owned(),
            &["ServiceAccount", "User", "Group"],
        ),
    }
}
