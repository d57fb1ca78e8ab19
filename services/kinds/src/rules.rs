//! The trait that a kind's file implements, and the two functions that judge an object by it.

use jiff::Timestamp;
use machinery::{Resource, Value};

use crate::{FieldErrors, Names, metadata, strategy};

/// What a rule may know besides the objects.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    /// The resource the object belongs to.
    pub resource: &'a Resource,
    /// The sub-resource being written: "", `status`, `ephemeralcontainers`, … A write of `scale` is a write of the
    /// object itself: "".
    pub subresource: &'a str,
    /// The present moment.
    pub now: Timestamp,
    /// The cluster's minor version.
    pub minor: u32,
}

/// The rules of one kind. All methods have defaults that suit a kind without rules of its own.
///
/// The API server calls, as upstream does, for a create: [`default`](Self::default), mutating admission (and `default`
/// again if a webhook changed something), [`prepare_create`](Self::prepare_create) (after it set `metadata.uid`,
/// `creationTimestamp` and the name), [`check_create`], validating admission. For an update: `default`, mutating
/// admission, [`prepare_update`](Self::prepare_update), [`check_update`], validating admission.
pub trait Rules: Send + Sync {
    /// Fills in defaults, as upstream's `SetDefaults_*` and `SetObjectDefaults_*`. Runs on create, update and patch.
    fn default(&self, _object: &mut Value, _cx: &Cx<'_>) {}

    /// What the server sets before an object is created. The default drops `status` (if it is a sub-resource)
    /// and sets `metadata.generation` to 1 (if the kind [counts generations](Self::counts_generations)).
    fn prepare_create(&self, object: &mut Value, cx: &Cx<'_>) {
        strategy::prepare_create(object, self.counts_generations(), cx);
    }

    /// What the server sets before an update. The default keeps the status when the object itself is written, keeps
    /// everything but metadata and status when `status` is written, and bumps `metadata.generation` when something besides
    /// metadata and status changed.
    fn prepare_update(&self, new: &mut Value, old: &Value, cx: &Cx<'_>) {
        strategy::prepare_update(new, old, self.counts_generations(), cx);
    }

    /// Whether `metadata.generation` counts changes of the spec.
    fn counts_generations(&self) -> bool {
        false
    }

    /// What objects of the kind may be called.
    fn names(&self, _cx: &Cx<'_>) -> Names {
        Names::Subdomain
    }

    /// Whether a PUT of an object that does not exist creates it.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Everything that is wrong with an object besides its metadata.
    fn validate(&self, _object: &Value, _cx: &Cx<'_>, _errors: &mut FieldErrors) {}

    /// Everything that is wrong with a change besides what is wrong with the new object.
    fn validate_update(&self, _new: &Value, _old: &Value, _cx: &Cx<'_>, _errors: &mut FieldErrors) {}

    /// Columns for `kubectl get`.
    fn columns(&self) -> &'static [Column] {
        crate::table::NAME_AND_AGE
    }

    /// The cells of one object, one for each column.
    fn row(&self, object: &Value, cx: &Cx<'_>) -> Vec<Value> {
        crate::table::name_and_age(object, cx)
    }

    /// Whether the object has come to its end: reason and message of its row's condition `Completed`.
    fn finished(&self, _object: &Value) -> Option<(&'static str, &'static str)> {
        None
    }

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

/// Everything that is wrong with an object that is to be created: its metadata, then the kind's own rules.
pub fn check_create(rules: &dyn Rules, object: &Value, cx: &Cx<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    metadata::validate(object, rules.names(cx), cx, &mut errors);
    rules.validate(object, cx, &mut errors);
    errors
}

/// Everything that is wrong with an update. The kind's [`Rules::validate`] looks at the new object only when the object
/// itself is written; for a sub-resource [`Rules::validate_update`] decides.
pub fn check_update(rules: &dyn Rules, new: &Value, old: &Value, cx: &Cx<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    metadata::validate_update(new, old, cx, &mut errors);
    if cx.subresource.is_empty() {
        rules.validate(new, cx, &mut errors);
    }
    rules.validate_update(new, old, cx, &mut errors);
    errors
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

impl Scale {
    /// Where the built-in kinds keep them.
    pub(crate) const BUILT_IN: Self = Self {
        spec_replicas: &["spec", "replicas"],
        status_replicas: &["status", "replicas"],
        selector: &["spec", "selector"],
    };
}

/// A printer column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Rules for a kind that has none of its own.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Rules for Plain {}
