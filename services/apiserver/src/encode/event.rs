//! Watch events: encoded once for each form, shared by every watcher through `Event::derived`.
//!
//! Shared are whole frames of plain objects in JSON and protobuf, in the stored version; tables, metadata and other
//! versions are made for each watcher.

use super::{partial, table, wire};
use crate::codec;
use crate::kind::Kind;
use crate::negotiate::{Accept, Media, Shape};
use crate::status::{ApiError, Result};
use crate::storage;
use bytes::Bytes;
use jiff::Timestamp;
use machinery::{Map, Value};
use std::sync::OnceLock;
use store_api::{Event, EventKind, Revision};

/// The type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// The object is new to the watcher.
    Added,
    /// It changed.
    Modified,
    /// It is gone, or has left the selection.
    Deleted,
    /// No object: a revision that was reached.
    Bookmark,
    /// No object: a Status.
    Error,
}

impl EventType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
            Self::Error => "ERROR",
        }
    }
}

/// Frames that all watchers of an event share: added, modified, deleted.
#[derive(Default)]
struct Shared {
    json: [OnceLock<Bytes>; 3],
    proto: [OnceLock<Bytes>; 3],
}

/// Encodes events for one watcher.
pub struct EventEncoder {
    accept: Accept,
    include: table::Include,
    now: Timestamp,
    /// Whether the columns of a table were sent.
    headed: bool,
}

impl EventEncoder {
    /// An encoder for what the client accepts.
    pub fn new(accept: Accept, include: table::Include, now: Timestamp) -> Self {
        Self {
            accept,
            include,
            now,
            headed: false,
        }
    }

    /// The answer's content type.
    pub fn content_type(&self) -> &'static str {
        match self.accept.media {
            Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }

    /// The frame of a change.
    pub fn event(&mut self, kind: &Kind, ty: EventType, event: &Event, revision: Revision) -> Result<Bytes> {
        let left = event.kind == EventKind::Delete || ty == EventType::Deleted;
        let source = match (&event.previous, left) {
            (Some(previous), true) => previous,
            _ => &event.record,
        };
        if self.accept.shape != Shape::Object || !kind.is_stored_version() {
            return self.record(kind, ty, &source.value, revision);
        }
        let shared = event.derived.get_or_init(Shared::default);
        let slots = if self.accept.media == Media::Protobuf {
            &shared.proto
        } else {
            &shared.json
        };
        let slot = &slots[match ty {
            EventType::Added => 0,
            EventType::Modified => 1,
            _ => 2,
        }];
        if let Some(bytes) = slot.get() {
            return Ok(bytes.clone());
        }
        let bytes = self.record(kind, ty, &source.value, revision)?;
        Ok(slot.get_or_init(|| bytes).clone())
    }

    /// The frame of a stored object.
    pub fn record(&mut self, kind: &Kind, ty: EventType, value: &Bytes, revision: Revision) -> Result<Bytes> {
        if self.accept.shape == Shape::Object
            && self.accept.media == Media::Protobuf
            && kind.is_stored_version()
        {
            let object = codec::splice_revision(value, revision)?;
            return Ok(wire::watch_event(ty.as_str(), &object).into());
        }
        if self.accept.shape == Shape::Object && kind.is_stored_version() {
            let mut out = Vec::with_capacity(value.len() * 2 + 64);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(ty.as_str().as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            codec::stored_to_json(value, revision, kind, true, &mut out)?;
            out.extend_from_slice(b"}\n");
            return Ok(out.into());
        }
        let object = storage::load_at(value, revision, kind)?;
        let (object, ty_id) = match self.accept.shape {
            Shape::Object => (object, Some(kind.resource.ty)),
            Shape::Metadata => (
                partial(&object),
                kind.catalog.by_name.get(codec::PARTIAL_TYPE).copied(),
            ),
            Shape::Table => {
                let row = table::row(&object, kind, self.now, self.include);
                (self.table(kind, vec![row], revision), None)
            }
        };
        self.frame(ty, &object, kind, ty_id)
    }

    fn table(&mut self, kind: &Kind, rows: Vec<Value>, revision: Revision) -> Value {
        let first = !std::mem::replace(&mut self.headed, true);
        table::table(kind, rows, &revision.to_string(), first)
    }

    fn frame(
        &self,
        ty: EventType,
        object: &Value,
        kind: &Kind,
        ty_id: Option<machinery::TypeId>,
    ) -> Result<Bytes> {
        if self.accept.media == Media::Protobuf {
            let id = ty_id.ok_or_else(|| ApiError::internal("no protobuf form"))?;
            let bytes =
                codec::to_proto(object, kind.catalog, id).map_err(|e| ApiError::internal(e.to_string()))?;
            return Ok(wire::watch_event(ty.as_str(), &bytes).into());
        }
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(ty.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        codec::write_json(object, &mut out);
        out.extend_from_slice(b"}\n");
        Ok(out.into())
    }

    /// The frame that says up to which revision everything was delivered; `initial_end` marks the end of the initial events.
    pub fn bookmark(&mut self, kind: &Kind, revision: Revision, initial_end: bool) -> Bytes {
        let mut meta = Map::new();
        meta.push_new("resourceVersion", revision.to_string().into());
        if initial_end {
            let mut annotations = Map::new();
            annotations.push_new("k8s.io/initial-events-end", "true".into());
            meta.push_new("annotations", annotations.into());
        }
        let mut object = Map::new();
        object.push_new("kind", kind.kind().into());
        object.push_new("apiVersion", kind.resource.api_version().into());
        object.push_new("metadata", meta.into());
        let object = Value::Map(object);
        let (object, id) = match self.accept.shape {
            Shape::Object => (object, Some(kind.resource.ty)),
            Shape::Metadata => (
                partial(&object),
                kind.catalog.by_name.get(codec::PARTIAL_TYPE).copied(),
            ),
            Shape::Table => {
                let rows = if initial_end {
                    let mut row = Map::new();
                    row.push_new("cells", Value::List(Vec::new()));
                    row.push_new("object", partial(&object));
                    vec![Value::Map(row)]
                } else {
                    Vec::new()
                };
                (self.table(kind, rows, revision), None)
            }
        };
        self.frame(EventType::Bookmark, &object, kind, id)
            .unwrap_or_default()
    }

    /// The frame of an error; the watch ends after it.
    pub fn error(&self, error: &ApiError, kind: &Kind) -> Bytes {
        let id = kind.catalog.by_name.get(codec::STATUS_TYPE).copied();
        self.frame(EventType::Error, &error.to_value(), kind, id)
            .unwrap_or_default()
    }
}
