//! Parameters of calls, as query strings and bodies.

use serde::Serialize;
use std::fmt::Write as _;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListParams {
    /// Label selector; empty selects everything.
    pub label_selector: String,
    /// Field selector; empty selects everything.
    pub field_selector: String,
    /// Objects in one page; 0 lists everything in one answer.
    pub limit: u32,
    /// From the page before.
    pub continue_token: String,
    /// `resourceVersion`: empty is the newest (consistent), `0` any.
    pub resource_version: String,
    /// `Exact` or `NotOlderThan`; empty lets the server decide.
    pub resource_version_match: String,
}

impl ListParams {
    /// Only objects that a label selector matches.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self {
            label_selector: selector.into(),
            ..Self::default()
        }
    }
    /// Only objects that a field selector matches.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self {
            field_selector: selector.into(),
            ..Self::default()
        }
    }
    pub(crate) fn query(&self, q: &mut Query) {
        q.text("labelSelector", &self.label_selector);
        q.text("fieldSelector", &self.field_selector);
        q.number("limit", self.limit);
        q.text("continue", &self.continue_token);
        q.text("resourceVersion", &self.resource_version);
        q.text("resourceVersionMatch", &self.resource_version_match);
    }
}

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchParams {
    /// Label selector.
    pub label_selector: String,
    /// Field selector.
    pub field_selector: String,
    /// Changes after this one; empty begins with the present objects as `ADDED`.
    pub resource_version: String,
    /// Seconds after which the server ends the watch; 0 lets it choose.
    pub timeout_seconds: u32,
    /// Ask for bookmarks.
    pub bookmarks: bool,
    /// WatchList: begin with the present objects and a marked bookmark.
    pub send_initial_events: bool,
}

impl WatchParams {
    pub(crate) fn query(&self, q: &mut Query) {
        q.text("watch", "true");
        q.text("labelSelector", &self.label_selector);
        q.text("fieldSelector", &self.field_selector);
        q.text("resourceVersion", &self.resource_version);
        q.number("timeoutSeconds", self.timeout_seconds);
        if self.bookmarks || self.send_initial_events {
            q.text("allowWatchBookmarks", "true");
        }
        if self.send_initial_events {
            q.text("sendInitialEvents", "true");
            q.text("resourceVersionMatch", "NotOlderThan");
        }
    }
}

/// What happens to dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Propagation {
    /// They lose the owner reference and stay.
    Orphan,
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
}

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteParams {
    /// Seconds a pod may take to end; `None` is the object's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
    /// What happens to dependents; `None` is the kind's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<Propagation>,
    /// Delete only if these still hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
}

/// `metav1.Preconditions`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// The object's uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The object's resource version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl DeleteParams {
    /// Dependents are deleted afterwards.
    pub fn background() -> Self {
        Self {
            propagation_policy: Some(Propagation::Background),
            ..Self::default()
        }
    }
    /// At once, without a grace period.
    pub fn now() -> Self {
        Self {
            grace_period_seconds: Some(0),
            ..Self::default()
        }
    }
    /// Only the object with this uid.
    #[must_use]
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.preconditions.get_or_insert_default().uid = Some(uid.into());
        self
    }
    /// Only this version of the object.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.preconditions.get_or_insert_default().resource_version = Some(version.into());
        self
    }
    pub(crate) fn body(&self) -> Vec<u8> {
        serde_json::to_vec(&Wire {
            kind: "DeleteOptions",
            api_version: "v1",
            options: self,
        })
        .expect("delete options are plain data")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    kind: &'a str,
    api_version: &'a str,
    #[serde(flatten)]
    options: &'a DeleteParams,
}

/// How an object is changed.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(serde_json::Value),
    /// RFC 7386.
    Merge(serde_json::Value),
    /// Kubernetes' strategic merge.
    Strategic(serde_json::Value),
    /// Server-side apply, as this field manager; with `force`, fields of other managers are taken over.
    Apply {
        object: serde_json::Value,
        manager: String,
        force: bool,
    },
}

impl Patch {
    pub(crate) fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json-patch+json",
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            Self::Apply { .. } => "application/apply-patch+yaml",
        }
    }
    pub(crate) fn body(&self) -> Vec<u8> {
        match self {
            Self::Json(v) | Self::Merge(v) | Self::Strategic(v) | Self::Apply { object: v, .. } => {
                v.to_string().into_bytes()
            }
        }
    }
    pub(crate) fn query(&self, q: &mut Query) {
        if let Self::Apply { manager, force, .. } = self {
            q.text("fieldManager", manager);
            if *force {
                q.text("force", "true");
            }
        }
    }
}

/// Which log of a pod.
#[derive(Clone, Debug, Default)]
pub struct LogParams {
    /// The container; empty for the only one.
    pub container: String,
    /// Go on as lines are written.
    pub follow: bool,
    /// The container before the present one.
    pub previous: bool,
    /// Only the last lines.
    pub tail_lines: Option<u32>,
    /// Each line begins with its time.
    pub timestamps: bool,
}

impl LogParams {
    pub(crate) fn query(&self, q: &mut Query) {
        q.text("container", &self.container);
        for (name, on) in [
            ("follow", self.follow),
            ("previous", self.previous),
            ("timestamps", self.timestamps),
        ] {
            if on {
                q.text(name, "true");
            }
        }
        if let Some(n) = self.tail_lines {
            q.text("tailLines", &n.to_string());
        }
    }
}

/// A path with a query, built safely.
#[derive(Debug)]
pub(crate) struct Query {
    text: String,
    any: bool,
}

impl Query {
    pub(crate) fn new(path: String) -> Self {
        let any = path.contains('?');
        Self { text: path, any }
    }
    /// Adds a parameter, unless it is empty.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.text.push(if self.any { '&' } else { '?' });
        self.any = true;
        self.text.push_str(name);
        self.text.push('=');
        escape(&mut self.text, value);
    }
    /// Adds a parameter, unless it is 0.
    pub(crate) fn number(&mut self, name: &str, value: u32) {
        if value != 0 {
            self.text(name, &value.to_string());
        }
    }
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                let _infallible = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_cannot_add_parameters() {
        let mut q = Query::new("/api/v1/pods".into());
        ListParams {
            label_selector: "a=b&watch=true".into(),
            limit: 5,
            ..ListParams::default()
        }
        .query(&mut q);
        assert_eq!(
            q.finish(),
            "/api/v1/pods?labelSelector=a%3Db%26watch%3Dtrue&limit=5"
        );
    }

    #[test]
    fn delete_options_carry_their_kind() {
        let body = String::from_utf8(DeleteParams::background().uid("u").body()).unwrap();
        let want = r#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background","preconditions":{"uid":"u"}}"#;
        assert_eq!(body, want);
    }
}
