//! The trait that a kind's file implements.

use jiff::Timestamp;
use machinery::{Resource, Value};

/// What a rule may know besides the objects.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    /// The resource the object belongs to.
    pub resource: &'a Resource,
    /// The sub-resource being written: "", `status`, `scale`, …
    pub subresource: &'a str,
    /// The present moment.
    pub now: Timestamp,
    /// The cluster's minor version.
    pub minor: u32,
}

/// The rules of one kind. All methods have defaults that suit a kind without rules of its own.
pub trait Rules: Send + Sync {
    /// Fills in defaults, as upstream's `SetDefaults_*` and `SetObjectDefaults_*`. Runs on create, update and patch.
    fn default(&self, _object: &mut Value, _cx: &Cx<'_>) {}

    /// What the server sets before an object is created: drops the status, sets `generation`, and so on.
    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>);

    /// What the server sets before an update: keeps what the caller may not change (the status when the main
    /// resource is written, everything but the status when `status` is), bumps `generation` when the spec changed.
    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>);

    /// Everything that is wrong with an object.
    fn validate(&self, _object: &Value, _cx: &Cx<'_>, _errors: &mut FieldErrors) {}

    /// Everything that is wrong with a change.
    fn validate_update(&self, _new: &Value, _old: &Value, _cx: &Cx<'_>, _errors: &mut FieldErrors) {}

    /// Columns for `kubectl get`.
    fn columns(&self) -> &'static [Column];

    /// The cells of one object, one for each column.
    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value>;

    /// Fields besides `metadata.name` and `metadata.namespace` that field selectors may name, with their values.
    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The names of [`Self::selectable_fields`].
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// `spec.replicas`, `status.replicas` and the label selector, for kinds with a `scale` sub-resource.
    fn scale(&self) -> Option<Scale> {
        None
    }
}

/// Where `scale` finds its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Path of the wished number.
    pub spec_replicas: &'static [&'static str],
    /// Path of the observed number.
    pub status_replicas: &'static [&'static str],
    /// Path of the label selector (an object or a plain map).
    pub selector: &'static [&'static str],
}

/// A printer column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Header as the server sends it, e.g. `Ready`.
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean`, `date`.
    pub ty: &'static str,
    /// `name` for the first column, else mostly empty.
    pub format: &'static str,
    /// 0 is always shown; larger only with `-o wide`.
    pub priority: i32,
}

/// A path to a field, as error messages write it: `spec.containers[0].name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(pub String);

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

/// Rules for a kind that has none of its own.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Rules for Plain {
    fn prepare_create(&self, _object: &mut Value, _cx: &Cx<'_>) {}
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _cx: &Cx<'_>) {}
    fn columns(&self) -> &'static [Column] {
        &[
            Column { name: "Name", ty: "string", format: "name", priority: 0 },
            Column { name: "Age", ty: "date", format: "", priority: 0 },
        ]
    }
    fn row(&self, object: &Value, _cx: &Cx<'_>) -> Vec<Value> {
        vec![object.at(&["metadata", "name"]).clone(), object.at(&["metadata", "creationTimestamp"]).clone()]
    }
}
