//! `metav1.LabelSelector`.

use machinery::{Value, name};

use crate::{FieldErrors, Path, metadata};

/// What is wrong with a label selector; none is no error.
pub(crate) fn validate(selector: &Value, path: &Path, errors: &mut FieldErrors) {
    metadata::validate_labels(&selector["matchLabels"], &path.child("matchLabels"), errors);
    for (i, expression) in selector.list_at(&["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = expression.list_at(&["values"]);
        match expression["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.required(&path.child("values"), detail);
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.forbidden(&path.child("values"), detail);
                }
            }
            other => {
                errors.invalid(
                    &path.child("operator"),
                    other.to_owned(),
                    "not a valid selector operator",
                );
            }
        }
        let key = expression["key"].as_str().unwrap_or_default();
        errors.invalid_each(&path.child("key"), key, name::qualified_name(key));
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            errors.invalid_each(&path.child("values").index(j), value, name::label_value(value));
        }
    }
}
