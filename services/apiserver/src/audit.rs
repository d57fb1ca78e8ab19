//! Audit: one `audit.k8s.io/v1` Event for each request, at level Metadata. Bodies and tokens are never in it.

use crate::pipeline::Connection;
use crate::request_info::RequestInfo;
use auth::User;
use base::clock::rfc3339_micro;
use http::header::USER_AGENT;
use jiff::Timestamp;
use machinery::{Map, Value};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Takes audit events. Must not block.
pub trait Sink: Send + Sync + 'static {
    /// Takes one event.
    fn log(&self, event: Value);
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

/// Writes events as JSON lines, from a thread of its own. Events beyond its queue are dropped and counted, so that a full disk
/// never stops the API.
pub struct JsonLines {
    queue: SyncSender<Value>,
    dropped: AtomicU64,
}

/// Events that wait to be written at most.
const QUEUE: usize = 8192;

impl JsonLines {
    /// Starts the writer.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn new(mut out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, events) = sync_channel::<Value>(QUEUE);
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            let mut line = Vec::new();
            while let Ok(event) = events.recv() {
                line.clear();
                crate::codec::write_json(&event, &mut line);
                line.push(b'\n');
                for more in events.try_iter().take(256) {
                    crate::codec::write_json(&more, &mut line);
                    line.push(b'\n');
                }
                if let Err(error) = out.write_all(&line).and_then(|()| out.flush()) {
                    tracing::error!(%error, "cannot write the audit log");
                }
            }
        })?;
        Ok(Self {
            queue,
            dropped: AtomicU64::new(0),
        })
    }

    /// How many events were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Sink for JsonLines {
    fn log(&self, event: Value) {
        if self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
