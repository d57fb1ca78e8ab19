//! Audit: one `audit.k8s.io/v1` Event for each request, refused ones included, at level Metadata. Bodies and tokens are never in it.

mod files;

use crate::pipeline::Connection;
use crate::request_info::RequestInfo;
use auth::User;
use base::ClusterId;
use base::clock::rfc3339_micro;
use http::header::USER_AGENT;
use jiff::Timestamp;
use machinery::{Map, Value};

pub use files::{FileOptions, Files};

/// Takes audit events. Must not block.
pub trait Sink: Send + Sync + 'static {
    /// Takes one event of a cluster.
    fn log(&self, cluster: &ClusterId, event: Value);
}

/// A request's event while the request runs.
#[derive(Debug)]
pub struct Entry {
    id: String,
    info: RequestInfo,
    uri: String,
    agent: String,
    source: Option<String>,
    user: Option<User>,
    received: Timestamp,
}

/// URIs and agents are cut at this length.
const MAX_TEXT: usize = 2048;

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

impl Entry {
    /// Begins an event.
    pub(crate) fn begin(
        id: &str,
        info: &RequestInfo,
        uri: &http::Uri,
        headers: &http::HeaderMap,
        connection: &Connection,
        received: Timestamp,
    ) -> Self {
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let agent = headers
            .get(USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        Self {
            id: id.into(),
            info: info.clone(),
            uri: cut(path),
            agent: cut(agent),
            source: connection.peer.map(|p| p.ip().to_string()),
            user: None,
            received,
        }
    }

    /// Who it turned out to be.
    pub(crate) fn set_user(&mut self, user: &User) {
        self.user = Some(user.clone());
    }

    /// The finished event.
    pub(crate) fn finish(self, code: u16, now: Timestamp) -> Value {
        let mut event = Map::with_capacity(16);
        event.push_new("kind", "Event".into());
        event.push_new("apiVersion", "audit.k8s.io/v1".into());
        event.push_new("level", "Metadata".into());
        event.push_new("auditID", self.id.into());
        event.push_new("stage", "ResponseComplete".into());
        event.push_new("requestURI", self.uri.into());
        event.push_new("verb", self.info.verb.into());
        let mut who = Map::new();
        if let Some(user) = self.user {
            who.push_new("username", user.name.into());
            if !user.uid.is_empty() {
                who.push_new("uid", user.uid.into());
            }
            who.push_new(
                "groups",
                Value::List(user.groups.into_iter().map(Value::from).collect()),
            );
        }
        event.push_new("user", who.into());
        event.push_new(
            "sourceIPs",
            Value::List(self.source.into_iter().map(Value::from).collect()),
        );
        event.push_new("userAgent", self.agent.into());
        if self.info.is_resource {
            let mut object = Map::new();
            let parts = [
                ("resource", self.info.resource),
                ("namespace", self.info.namespace),
                ("name", self.info.name),
                ("apiGroup", self.info.group),
                ("apiVersion", self.info.version),
                ("subresource", self.info.subresource),
            ];
            for (key, text) in parts {
                if !text.is_empty() {
                    object.push_new(key, text.into());
                }
            }
            event.push_new("objectRef", object.into());
        }
        let mut status = Map::new();
        status.push_new("metadata", Value::map());
        status.push_new("code", i64::from(code).into());
        event.push_new("responseStatus", status.into());
        event.push_new("requestReceivedTimestamp", rfc3339_micro(self.received).into());
        event.push_new("stageTimestamp", rfc3339_micro(now).into());
        Value::Map(event)
    }
}
