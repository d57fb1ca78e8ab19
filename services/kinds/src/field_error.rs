//! What is wrong with an object, in the words that clients know.
//!
//! Reasons and texts are upstream's (`k8s.io/apimachinery/pkg/util/validation/field`): `Invalid value: "x": must be …`.

use machinery::Value;
use machinery::quote::{go_json, go_quote};

use crate::Path;

/// One thing that is wrong with an object: one entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Kubernetes' cause reason: `FieldValueRequired`, `FieldValueInvalid`, `FieldValueForbidden`,
    /// `FieldValueNotSupported`, `FieldValueDuplicate`, `FieldValueNotFound`, `FieldValueTooLong`, `FieldValueTooMany`,
    /// `FieldValueTypeInvalid`, `InternalError`.
    pub reason: &'static str,
    /// The field's path.
    pub field: String,
    /// The message without the path, e.g. `Required value: name is required`.
    pub message: String,
}

/// What was found wrong, in order.
#[derive(Clone, Debug, Default)]
pub struct FieldErrors(pub Vec<FieldError>);

/// A value as messages show it: strings quoted as Go does, the rest as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Str(s) => go_quote(s),
        other => go_json(other),
    }
}

fn with_detail(head: String, detail: &str) -> String {
    if detail.is_empty() {
        head
    } else {
        format!("{head}: {detail}")
    }
}

impl FieldErrors {
    /// No errors.
    pub fn new() -> Self {
        Self::default()
    }
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn push(&mut self, reason: &'static str, path: &Path, message: String) {
        self.0.push(FieldError {
            reason,
            field: path.to_string(),
            message,
        });
    }
    /// A value is missing.
    pub fn required(&mut self, path: &Path, detail: &str) {
        self.push(
            "FieldValueRequired",
            path,
            with_detail("Required value".into(), detail),
        );
    }
    /// A value is malformed or out of bounds.
    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        let head = format!("Invalid value: {}", shown(&value.into()));
        self.push("FieldValueInvalid", path, with_detail(head, detail));
    }
    /// [`Self::invalid`] without showing the value.
    pub fn invalid_omitted(&mut self, path: &Path, detail: &str) {
        self.push(
            "FieldValueInvalid",
            path,
            with_detail("Invalid value".into(), detail),
        );
    }
    /// [`Self::invalid`] for each message.
    pub fn invalid_each(&mut self, path: &Path, value: &str, messages: Vec<String>) {
        for m in messages {
            self.invalid(path, value.to_owned(), &m);
        }
    }
    /// A value has the wrong type.
    pub fn type_invalid(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        let head = format!("Invalid value: {}", shown(&value.into()));
        self.push("FieldValueTypeInvalid", path, with_detail(head, detail));
    }
    /// A value that may not stand here, as things are.
    pub fn forbidden(&mut self, path: &Path, detail: &str) {
        self.push(
            "FieldValueForbidden",
            path,
            with_detail("Forbidden".into(), detail),
        );
    }
    /// A value that is none of an enumeration's.
    pub fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        let list = supported
            .iter()
            .map(|s| go_quote(s))
            .collect::<Vec<_>>()
            .join(", ");
        let detail = if list.is_empty() {
            list
        } else {
            format!("supported values: {list}")
        };
        let head = format!("Unsupported value: {}", shown(&value.into()));
        self.push("FieldValueNotSupported", path, with_detail(head, &detail));
    }
    /// A value that occurs twice where it may once.
    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(
            "FieldValueDuplicate",
            path,
            format!("Duplicate value: {}", shown(&value.into())),
        );
    }
    /// [`Self::duplicate`] with a reason.
    pub fn duplicate_because(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        let head = format!("Duplicate value: {}", shown(&value.into()));
        self.push("FieldValueDuplicate", path, with_detail(head, detail));
    }
    /// A value that names something that is not there.
    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(
            "FieldValueNotFound",
            path,
            format!("Not found: {}", shown(&value.into())),
        );
    }
    /// [`Self::not_found`] with a reason.
    pub fn not_found_because(&mut self, path: &Path, value: impl Into<Value>, detail: &str) {
        let head = format!("Not found: {}", shown(&value.into()));
        self.push("FieldValueNotFound", path, with_detail(head, detail));
    }
    /// A text of more than `max` bytes.
    pub fn too_long(&mut self, path: &Path, max: usize) {
        let unit = if max == 1 { "byte" } else { "bytes" };
        self.push(
            "FieldValueTooLong",
            path,
            format!("Too long: may not be more than {max} {unit}"),
        );
    }
    /// A list of more than `max` items.
    pub fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        let unit = if max == 1 { "item" } else { "items" };
        self.push(
            "FieldValueTooMany",
            path,
            format!("Too many: {actual}: must have at most {max} {unit}"),
        );
    }
    /// Something went wrong that the caller cannot help.
    pub fn internal(&mut self, path: &Path, detail: &str) {
        self.push(
            "InternalError",
            path,
            with_detail("Internal error".into(), detail),
        );
    }
    /// The value of a required enumeration: [`Self::required`] if it is missing, [`Self::not_supported`] if unknown.
    pub fn enumeration(&mut self, path: &Path, value: &Value, supported: &[&str]) {
        match value.as_str() {
            None | Some("") => self.required(path, ""),
            Some(s) if !supported.contains(&s) => self.not_supported(path, s.to_owned(), supported),
            Some(_) => {}
        }
    }
    /// A number that may not be negative.
    pub fn nonnegative(&mut self, path: &Path, value: &Value) {
        if let Some(n) = value.as_i64()
            && n < 0
        {
            self.invalid(path, n, "must be greater than or equal to 0");
        }
    }
    /// Refuses a change of a field.
    pub fn immutable(&mut self, path: &Path, new: &Value, old: &Value) {
        if !crate::equal(new, old) {
            self.invalid(path, new.clone(), "field is immutable");
        }
    }
    /// All errors as `path: message`, for tests and logs.
    pub fn lines(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|e| format!("{}: {}", e.field, e.message))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::value;

    #[test]
    fn messages_read_as_upstreams() {
        let mut e = FieldErrors::new();
        let p = Path::new("spec").child("ports").index(0);
        e.required(&p.child("name"), "");
        e.required(&p.child("name"), "name is required");
        e.invalid(&p, "x\"y", "must be z");
        e.invalid(&p, 70000, "must be between 1 and 65535, inclusive");
        e.invalid(&p, value!({"b": [1], "a": "<"}), "");
        e.not_supported(&p, "X", &["A", "B"]);
        e.duplicate(&Path::new("m").key("k"), "v");
        e.too_long(&p, 63);
        e.too_many(&p, 3, 1);
        e.forbidden(&Path::root(), "no");
        assert_eq!(
            e.lines(),
            [
                "spec.ports[0].name: Required value",
                "spec.ports[0].name: Required value: name is required",
                r#"spec.ports[0]: Invalid value: "x\"y": must be z"#,
                "spec.ports[0]: Invalid value: 70000: must be between 1 and 65535, inclusive",
                r#"spec.ports[0]: Invalid value: {"b":[1],"a":"\u003c"}"#,
                r#"spec.ports[0]: Unsupported value: "X": supported values: "A", "B""#,
                r#"m[k]: Duplicate value: "v""#,
                "spec.ports[0]: Too long: may not be more than 63 bytes",
                "spec.ports[0]: Too many: 3: must have at most 1 item",
                "<nil>: Forbidden: no",
            ]
        );
    }
}
