//! PodCertificateRequest.

use machinery::Value;

use crate::table::{NAME, cell, labels, name as name_cell, text};
use crate::{Column, Cx, FieldErrors, Path, Rules};

/// Rules of certificate requests of pods.
pub(crate) struct PodRequest;

impl Rules for PodRequest {
    fn validate(&self, object: &Value, _cx: &Cx<'_>, errors: &mut FieldErrors) {
        let required = [
            "signerName",
            "podName",
            "podUID",
            "serviceAccountName",
            "serviceAccountUID",
            "nodeName",
            "nodeUID",
        ];
        for field in required {
            if object["spec"][field].is_zero() {
                errors.required(&Path::new("spec").child(field), "");
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, cx: &Cx<'_>, errors: &mut FieldErrors) {
        if cx.subresource.is_empty() {
            errors.immutable(&Path::new("spec"), &new["spec"], &old["spec"]);
        }
    }

    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("PodName"),
                text("ServiceAccountName"),
                text("NodeName"),
                text("SignerName"),
                text("State"),
                text("UnverifiedUserAnnotations"),
            ]
        }
    }

    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        let spec = &object["spec"];
        let mut state = "Pending";
        for condition in object.list_at(&["status", "conditions"]) {
            match condition["type"].as_str() {
                Some("Issued") => state = "Issued",
                Some("Denied") => state = "Denied",
                Some("Failed") => state = "Failed",
                _ => {}
            }
        }
        vec![
            name_cell(object),
            cell(&spec["podName"]),
            cell(&spec["serviceAccountName"]),
            cell(&spec["nodeName"]),
            cell(&spec["signerName"]),
            state.into(),
            labels(&spec["unverifiedUserAnnotations"]),
        ]
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let text = |field: &str| object["spec"][field].as_str().unwrap_or_default().to_owned();
        vec![
            ("spec.signerName", text("signerName")),
            ("spec.podName", text("podName")),
            ("spec.nodeName", text("nodeName")),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &["spec.signerName", "spec.podName", "spec.nodeName"]
    }
}
