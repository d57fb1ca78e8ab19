//! ClusterTrustBundle.

use machinery::Value;

use crate::table::{NAME, name as name_cell, or_none, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of trust bundles.
pub(crate) struct TrustBundle;

impl Rules for TrustBundle {
    fn names(&self, _cx: &Cx<'_>) -> crate::Names {
        // With a signer the name begins with the signer's, colons instead of slashes.
        crate::Names::PathSegment
    }

    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        if object.at(&["spec", "trustBundle"]).is_zero() {
            errors.required(
                &Path::new("spec.trustBundle"),
                "trust bundle must contain at least one PEM block",
            );
        }
        let signer = object.str_at(&["spec", "signerName"]).unwrap_or_default();
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let path = Path::new("metadata.name");
        if signer.is_empty() {
            errors.invalid_each(&path, name, machinery::name::dns1123_subdomain(name));
        } else {
            let prefix = format!("{}:", signer.replace('/', ":"));
            match name.strip_prefix(&prefix) {
                Some(rest) => errors.invalid_each(&path, name, machinery::name::dns1123_subdomain(rest)),
                None => {
                    let detail = format!(
                        "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
                    );
                    errors.invalid(&path, name.to_owned(), &detail);
                }
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let path = ["spec", "signerName"];
        errors.immutable(&Path::new("spec.signerName"), new.at(&path), old.at(&path));
    }

    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("SignerName")] }
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        vec![
            name_cell(object),
            or_none(object.str_at(&["spec", "signerName"]).unwrap_or_default()),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "spec.signerName",
            object
                .str_at(&["spec", "signerName"])
                .unwrap_or_default()
                .to_owned(),
        )]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
}
