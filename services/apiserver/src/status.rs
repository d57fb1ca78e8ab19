//! `metav1.Status`: what a Kubernetes client sees of an error.
//!
//! Reason, message, details and causes are interface: clients and their tests compare them, so each constructor here makes exactly
//! what upstream's `k8s.io/apimachinery/pkg/api/errors` makes. Nothing in this crate answers with an error in another form,
//! but for plain `404 page not found` of unknown paths.

use kinds::{FieldError, FieldErrors};
use machinery::{Map, Value, value};
use std::borrow::Cow;

/// An error answer. Boxed in [`ApiError`], because results are returned through many layers.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Kubernetes' machine-readable reason, e.g. `NotFound`.
    pub reason: Cow<'static, str>,
    /// The message for people.
    pub message: String,
    /// `details`, where there are any.
    pub details: Option<Details>,
    /// `metadata.continue`: set when a paged list expired and may go on inconsistently.
    pub continue_token: Option<String>,
}

/// `Status.details`.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// API group.
    pub group: String,
    /// The plural, or the kind for invalid objects.
    pub kind: String,
    /// The object's uid.
    pub uid: String,
    /// Causes: reason, message, field.
    pub causes: Vec<(Cow<'static, str>, String, String)>,
    /// When to come again.
    pub retry_after_seconds: u32,
}

/// The error type of this crate's handlers.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ApiError(pub Box<Status>);

/// Results of handlers.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

/// `pods` or `deployments.apps`.
pub fn qualified(group: &str, name: &str) -> String {
    if group.is_empty() {
        name.into()
    } else {
        format!("{name}.{group}")
    }
}

fn make(code: u16, reason: &'static str, message: String) -> ApiError {
    ApiError(Box::new(Status {
        code,
        reason: reason.into(),
        message,
        ..Status::default()
    }))
}

fn about(mut error: ApiError, group: &str, kind: &str, name: &str) -> ApiError {
    error.0.details = Some(Details {
        name: name.into(),
        group: group.into(),
        kind: kind.into(),
        ..Details::default()
    });
    error
}

impl ApiError {
    /// 404 for an object.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let text = format!("{} {name:?} not found", qualified(group, resource));
        about(make(404, "NotFound", text), group, resource, name)
    }

    /// 404 for a path or a version of a resource, in the words of a generic server answer.
    pub fn no_resource() -> Self {
        let mut e = make(
            404,
            "NotFound",
            "the server could not find the requested resource".into(),
        );
        e.0.details = Some(Details::default());
        e
    }

    /// 409 for a name that is taken.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let text = format!("{} {name:?} already exists", qualified(group, resource));
        about(make(409, "AlreadyExists", text), group, resource, name)
    }

    /// 409 for a change that does not fit what is stored.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let text = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            qualified(group, resource)
        );
        about(make(409, "Conflict", text), group, resource, name)
    }

    /// 409: somebody else was faster.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403. `why` begins with the user for authorization, or is an admission plugin's message.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let what = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (r, "") => format!("{} is forbidden: {why}", qualified(group, r)),
            (r, n) => format!("{} {n:?} is forbidden: {why}", qualified(group, r)),
        };
        about(make(403, "Forbidden", what), group, resource, name)
    }

    /// 422 with one cause for each wrong field. `kind` is the kind, not the plural.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &FieldErrors) -> Self {
        Self::invalid_fields(group, kind, name, &errors.0)
    }

    /// As [`Self::invalid`].
    pub fn invalid_fields(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for e in errors {
            let text = format!("{}: {}", e.field, e.message);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let what = qualified(group, kind);
        let message = match &texts[..] {
            [] => format!("{what} {name:?} is invalid"),
            [one] => format!("{what} {name:?} is invalid: {one}"),
            many => format!("{what} {name:?} is invalid: [{}]", many.join(", ")),
        };
        let mut error = about(make(422, "Invalid", message), group, kind, name);
        if let Some(details) = &mut error.0.details {
            details.causes = errors
                .iter()
                .map(|e| (e.reason.into(), e.message.clone(), e.field.clone()))
                .collect();
        }
        error
    }

    /// 422 for one field.
    pub fn invalid_field(
        group: &str,
        kind: &str,
        name: &str,
        reason: &'static str,
        field: &str,
        message: &str,
    ) -> Self {
        let error = FieldError {
            reason,
            field: field.into(),
            message: message.into(),
        };
        Self::invalid_fields(group, kind, name, &[error])
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        make(400, "BadRequest", message.into())
    }

    /// 401.
    pub fn unauthorized() -> Self {
        make(401, "Unauthorized", "Unauthorized".into())
    }

    /// 405.
    pub fn method_not_allowed(group: &str, resource: &str, verb: &str) -> Self {
        let text = format!(
            "{verb} is not supported on resources of kind {:?}",
            qualified(group, resource)
        );
        about(make(405, "MethodNotAllowed", text), group, resource, "")
    }

    /// 405 for a method that a path does not know.
    pub fn method_unknown() -> Self {
        let mut e = make(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource".into(),
        );
        e.0.details = Some(Details::default());
        e
    }

    /// 406.
    pub fn not_acceptable(accepted: &str) -> Self {
        make(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {accepted}"),
        )
    }

    /// 415.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        let text = "the body of the request was in an unknown format - accepted media types include: ";
        make(415, "UnsupportedMediaType", format!("{text}{accepted}"))
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        make(
            413,
            "RequestEntityTooLarge",
            format!("Request entity is too large: limit is {limit}"),
        )
    }

    /// 410 for a resourceVersion or a continue token that is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        make(410, "Expired", message.into())
    }

    /// 429; `retry_after` in seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after: u32) -> Self {
        let mut e = make(429, "TooManyRequests", message.into());
        e.0.details = Some(Details {
            retry_after_seconds: retry_after,
            ..Details::default()
        });
        e
    }

    /// 504, `Timeout: …`.
    pub fn timeout(message: &str, retry_after: u32) -> Self {
        let mut e = make(504, "Timeout", format!("Timeout: {message}"));
        e.0.details = Some(Details {
            retry_after_seconds: retry_after,
            ..Details::default()
        });
        e
    }

    /// 504 for a resourceVersion from the future.
    pub fn future_version(asked: i64, current: i64) -> Self {
        let mut e = Self::timeout(
            &format!("Too large resource version: {asked}, current: {current}"),
            1,
        );
        if let Some(details) = &mut e.0.details {
            details.causes = vec![(
                "ResourceVersionTooLarge".into(),
                "Too large resource version".into(),
                String::new(),
            )];
        }
        e
    }

    /// 500 `ServerTimeout`: may be tried again.
    pub fn server_timeout(group: &str, resource: &str, verb: &str, retry_after: u32) -> Self {
        let text = format!(
            "The {verb} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        let mut e = about(make(500, "ServerTimeout", text), group, resource, verb);
        if let Some(details) = &mut e.0.details {
            details.retry_after_seconds = retry_after;
        }
        e
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        make(503, "ServiceUnavailable", message.into())
    }

    /// 500 without a reason: what upstream makes of an error that it does not know.
    pub fn unknown(message: impl Into<String>) -> Self {
        make(500, "", message.into())
    }

    /// 500 `InternalError`.
    pub fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let mut e = make(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        );
        e.0.details = Some(Details {
            causes: vec![("".into(), message, String::new())],
            ..Details::default()
        });
        e
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.0.code
    }

    /// Whether this is what [`Self::modified`] makes, or another conflict.
    pub fn is_conflict(&self) -> bool {
        self.0.reason == "Conflict"
    }

    /// Whether an object was not found.
    pub fn is_not_found(&self) -> bool {
        self.0.reason == "NotFound"
    }

    /// Adds causes to the details.
    pub fn with_causes(mut self, causes: Vec<(Cow<'static, str>, String, String)>) -> Self {
        self.0.details.get_or_insert_with(Details::default).causes = causes;
        self
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        self.0.to_value()
    }
}

impl Status {
    /// A success with details: what a finished deletion answers.
    pub fn success(group: &str, resource: &str, name: &str, uid: &str) -> Value {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            uid: uid.into(),
            ..Details::default()
        };
        let mut v = value!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        if let Value::Map(map) = &mut v {
            map.insert("details", details.to_value());
        }
        v
    }

    fn to_value(&self) -> Value {
        let mut meta = Map::new();
        if let Some(token) = &self.continue_token {
            meta.insert("continue", token.clone());
        }
        let mut map = Map::with_capacity(8);
        map.push_new("kind", "Status".into());
        map.push_new("apiVersion", "v1".into());
        map.push_new("metadata", meta.into());
        map.push_new("status", "Failure".into());
        if !self.message.is_empty() {
            map.push_new("message", self.message.clone().into());
        }
        if !self.reason.is_empty() {
            map.push_new("reason", Value::Str(self.reason.clone()));
        }
        if let Some(details) = &self.details {
            map.push_new("details", details.to_value());
        }
        map.push_new("code", i64::from(self.code).into());
        Value::Map(map)
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut map = Map::new();
        for (key, text) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !text.is_empty() {
                map.push_new(key, text.clone().into());
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|(reason, message, field)| {
                let mut cause = Map::new();
                if !reason.is_empty() {
                    cause.push_new("reason", Value::Str(reason.clone()));
                }
                if !message.is_empty() {
                    cause.push_new("message", message.clone().into());
                }
                if !field.is_empty() {
                    cause.push_new("field", field.clone().into());
                }
                Value::Map(cause)
            });
            map.push_new("causes", Value::List(causes.collect()));
        }
        if self.retry_after_seconds > 0 {
            map.push_new("retryAfterSeconds", i64::from(self.retry_after_seconds).into());
        }
        Value::Map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_clients_compare() {
        let e = ApiError::not_found("apps", "deployments", "x");
        assert_eq!(e.0.message, "deployments.apps \"x\" not found");
        assert_eq!(e.to_value().str_at(&["details", "kind"]), Some("deployments"));
        let e = ApiError::forbidden("", "pods", "", "User \"u\" cannot list resource \"pods\"");
        assert_eq!(
            e.0.message,
            "pods is forbidden: User \"u\" cannot list resource \"pods\""
        );
        let field = |f: &str| FieldError {
            reason: "FieldValueRequired",
            field: f.into(),
            message: "Required value".into(),
        };
        let e = ApiError::invalid_fields("", "Pod", "x", &[field("a"), field("b")]);
        assert_eq!(
            e.0.message,
            "Pod \"x\" is invalid: [a: Required value, b: Required value]"
        );
        assert_eq!(e.to_value().list_at(&["details", "causes"]).len(), 2);
        assert_eq!(e.code(), 422);
    }
}
