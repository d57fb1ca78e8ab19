//! IPAddress.

use machinery::Value;

use crate::table::{NAME, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules, ip};

/// Rules of addresses.
pub(crate) struct IpAddress;

impl Rules for IpAddress {
    fn names(&self, _cx: &Cx<'_>) -> crate::Names {
        // The name is an address in canonical form, which `validate` checks.
        crate::Names::PathSegment
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let text = object.str_at(&["metadata", "name"]).unwrap_or_default();
        if ip::parse(text).is_none_or(|a| a.to_string() != text) {
            let zeros = text.split('.').any(|p| p.len() > 1 && p.starts_with('0'));
            let detail = if zeros {
                "must not have leading 0s"
            } else {
                "must be a valid IP address in canonical form"
            };
            errors.invalid(&Path::new("metadata.name"), text.to_owned(), detail);
        }
        let (parent, path) = (object.at(&["spec", "parentRef"]), Path::new("spec.parentRef"));
        if parent.is_null() {
            errors.required(&path, "");
            return;
        }
        for field in ["resource", "name"] {
            if parent[field].is_zero() {
                errors.required(&path.child(field), "");
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        errors.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("ParentRef")] }
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        let parent = object.at(&["spec", "parentRef"]);
        let of = |field: &str| parent[field].as_str().unwrap_or_default();
        let mut shown = match of("group") {
            "" => of("resource").to_lowercase(),
            group => format!("{}.{group}", of("resource")).to_lowercase(),
        };
        if !of("namespace").is_empty() {
            shown = format!("{shown}/{}", of("namespace"));
        }
        let shown = if parent.is_null() {
            "<none>".to_owned()
        } else {
            format!("{shown}/{}", of("name"))
        };
        vec![name_cell(object), shown.into()]
    }
}
