//! Lists, encoded while they stream: what is held is the records, which the store holds anyway.

use super::{maybe_gzip_stream, partial, respond, table, wire};
use crate::codec;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::{Media, Shape};
use crate::registry::list::Page;
use crate::status::{ApiError, Result};
use crate::{Body, storage};
use bytes::Bytes;
use http::Response;
use machinery::{Map, Value};
use std::sync::Arc;
use store_api::{Record, Revision};

/// A piece of the body holds about this much.
const PIECE: usize = 64 * 1024;

/// The answer to a list.
pub fn page(page: Page, cx: &Cx, kind: &Arc<Kind>) -> Result<Response<Body>> {
    let form = Form::new(&page, cx, kind)?;
    match cx.accept.media {
        Media::Protobuf => protobuf(&page, &form),
        Media::Yaml => Ok(respond(
            200,
            Media::Yaml.content_type(),
            codec::to_yaml(&form.tree(&page)?),
        )),
        Media::Json if cx.accept.pretty => Ok(respond(
            200,
            Media::Json.content_type(),
            codec::to_json(&form.tree(&page)?, true),
        )),
        Media::Json => {
            let stored: usize = page.records.iter().map(|r| r.value.len()).sum();
            let pieces = JsonPieces {
                records: page.records.into_iter(),
                form,
                state: State::Head,
            };
            Ok(maybe_gzip_stream(
                pieces,
                cx.gzip && stored * 2 > crate::limits::MIN_GZIP,
            ))
        }
    }
}

/// An answer with objects that are in memory already: what a deletecollection deleted, with the revision of its list, or what
/// is computed and has none.
pub fn objects(
    objects: Vec<Value>,
    listed: Option<Revision>,
    cx: &Cx,
    kind: &Arc<Kind>,
) -> Result<Response<Body>> {
    let mut list = Map::new();
    list.push_new("kind", format!("{}List", kind.kind()).into());
    list.push_new("apiVersion", kind.resource.api_version().into());
    let version = listed.map(|revision| revision.to_string());
    let mut metadata = Map::new();
    if let Some(version) = &version {
        metadata.push_new("resourceVersion", version.clone().into());
    }
    list.push_new("metadata", Value::Map(metadata));
    if cx.accept.media == Media::Protobuf {
        let mut message = Vec::new();
        wire::bytes(
            1,
            &wire::list_meta(version.as_deref().unwrap_or(""), None, None),
            &mut message,
        );
        for object in &objects {
            let bytes = codec::to_proto(object, kind.catalog, kind.resource.ty)
                .map_err(|e| ApiError::internal(e.to_string()))?;
            wire::bytes(2, wire::unwrap_envelope(&bytes).unwrap_or(&[]), &mut message);
        }
        let mut out = Vec::with_capacity(message.len() + 64);
        wire::envelope_head(
            &kind.resource.api_version(),
            &format!("{}List", kind.kind()),
            message.len(),
            &mut out,
        );
        out.extend_from_slice(&message);
        out.extend_from_slice(&wire::ENVELOPE_TAIL);
        return Ok(respond(200, Media::Protobuf.content_type(), out));
    }
    list.push_new("items", Value::List(objects));
    let list = Value::Map(list);
    let bytes = match cx.accept.media {
        Media::Yaml => codec::to_yaml(&list),
        _ => codec::to_json(&list, cx.accept.pretty),
    };
    Ok(respond(200, cx.accept.media.content_type(), bytes))
}

/// Everything about the answer but the records.
struct Form {
    kind: Arc<Kind>,
    shape: Shape,
    include: table::Include,
    now: jiff::Timestamp,
    version: String,
    token: Option<String>,
    remaining: Option<i64>,
}

impl Form {
    fn new(page: &Page, cx: &Cx, kind: &Arc<Kind>) -> Result<Self> {
        Ok(Self {
            kind: kind.clone(),
            shape: cx.accept.shape,
            include: table::Include::of(cx)?,
            now: cx.now,
            version: page.revision.to_string(),
            token: page.next.as_ref().map(crate::registry::token::Token::encode),
            remaining: page.remaining,
        })
    }

    fn list_kind(&self) -> (String, String) {
        match self.shape {
            Shape::Object => (
                self.kind.resource.api_version(),
                format!("{}List", self.kind.kind()),
            ),
            Shape::Metadata => ("meta.k8s.io/v1".into(), "PartialObjectMetadataList".into()),
            Shape::Table => ("meta.k8s.io/v1".into(), "Table".into()),
        }
    }

    fn items_key(&self) -> &'static str {
        if self.shape == Shape::Table {
            "rows"
        } else {
            "items"
        }
    }

    /// The list without its items.
    fn frame(&self) -> Map {
        let (api_version, kind) = self.list_kind();
        let mut meta = Map::new();
        meta.push_new("resourceVersion", self.version.clone().into());
        if let Some(token) = &self.token {
            meta.push_new("continue", token.clone().into());
        }
        if let Some(n) = self.remaining {
            meta.push_new("remainingItemCount", n.into());
        }
        let mut list = Map::new();
        list.push_new("kind", kind.into());
        list.push_new("apiVersion", api_version.into());
        list.push_new("metadata", meta.into());
        if self.shape == Shape::Table {
            list.push_new("columnDefinitions", table::columns(&self.kind));
        }
        list
    }

    fn item(&self, record: &Record) -> Result<Value> {
        let mut object = storage::load(record, &self.kind)?;
        Ok(match self.shape {
            Shape::Object => {
                // Items of a list of a built-in kind carry no type of their own.
                if let Value::Map(map) = &mut object {
                    map.remove("apiVersion");
                    map.remove("kind");
                }
                object
            }
            Shape::Metadata => partial(&object),
            Shape::Table => table::row(&object, &self.kind, self.now, self.include),
        })
    }

    fn tree(&self, page: &Page) -> Result<Value> {
        let mut list = self.frame();
        let items: Result<Vec<Value>> = page.records.iter().map(|r| self.item(r)).collect();
        list.push_new(self.items_key(), Value::List(items?));
        Ok(Value::Map(list))
    }
}

enum State {
    Head,
    Items { first: bool },
    Done,
}

/// The pieces of a JSON list.
pub(super) struct JsonPieces {
    records: std::vec::IntoIter<Arc<Record>>,
    form: Form,
    state: State,
}

impl Iterator for JsonPieces {
    type Item = std::io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut out = Vec::with_capacity(PIECE + PIECE / 4);
        if matches!(self.state, State::Done) {
            return None;
        }
        if matches!(self.state, State::Head) {
            codec::write_json(&Value::Map(self.form.frame()), &mut out);
            // `{…}` goes on with the items.
            out.pop();
            out.extend_from_slice(format!(",\"{}\":[", self.form.items_key()).as_bytes());
            self.state = State::Items { first: true };
        }
        while out.len() < PIECE {
            let Some(record) = self.records.next() else {
                out.extend_from_slice(b"]}\n");
                self.state = State::Done;
                break;
            };
            if let State::Items { first } = &mut self.state {
                if !*first {
                    out.push(b',');
                }
                *first = false;
            }
            if let Err(e) = json_item(&self.form, &record, &mut out) {
                // The head of the answer is out: all that is left is to break it off.
                self.state = State::Done;
                return Some(Err(std::io::Error::other(e)));
            }
        }
        Some(Ok(out.into()))
    }
}

fn json_item(form: &Form, record: &Record, out: &mut Vec<u8>) -> Result<()> {
    if form.shape == Shape::Object && form.kind.is_stored_version() {
        return codec::stored_to_json(&record.value, record.mod_revision, &form.kind, false, out);
    }
    codec::write_json(&form.item(record)?, out);
    Ok(())
}

fn protobuf(page: &Page, form: &Form) -> Result<Response<Body>> {
    let broken = || ApiError::internal("cannot decode a stored object");
    let items: Result<Vec<Bytes>> = page
        .records
        .iter()
        .map(|record| {
            let whole = if form.kind.is_stored_version() {
                codec::splice_revision(&record.value, record.mod_revision)?
            } else {
                let object = storage::load(record, &form.kind)?;
                codec::to_proto(&object, form.kind.catalog, form.kind.resource.ty)
                    .map_err(|e| ApiError::internal(e.to_string()))?
                    .into()
            };
            let message = wire::unwrap_envelope(&whole).ok_or_else(broken)?;
            if form.shape == Shape::Metadata {
                let meta = wire::first_field(message, 1).ok_or_else(broken)?;
                let mut out = Vec::with_capacity(meta.len() + 4);
                wire::bytes(1, meta, &mut out);
                return Ok(out.into());
            }
            Ok(whole.slice_ref(message))
        })
        .collect();
    let items = items?;
    let meta = wire::list_meta(&form.version, form.token.as_deref(), form.remaining);
    let size = wire::field_len(meta.len()) + items.iter().map(|i| wire::field_len(i.len())).sum::<usize>();
    let (api_version, kind) = form.list_kind();
    let mut out = Vec::with_capacity(size + 96);
    wire::envelope_head(&api_version, &kind, size, &mut out);
    wire::bytes(1, &meta, &mut out);
    for item in &items {
        wire::bytes(2, item, &mut out);
    }
    out.extend_from_slice(&wire::ENVELOPE_TAIL);
    Ok(respond(200, Media::Protobuf.content_type(), out))
}
