//! From trees and stored bytes to answers, in the form that the client wants.
//!
//! Answers that hold one object are built whole; lists are encoded while they stream; events are encoded once for
//! all watchers of the same form. A stored object is answered by splicing its resourceVersion in, and as JSON without a tree.

pub mod event;
pub mod list;
pub mod table;
pub mod wire;

use crate::codec;
use crate::cx::Cx;
use crate::kind::Kind;
use crate::negotiate::{Accept, Media, Shape};
use crate::status::{ApiError, Result};
use crate::{Body, storage};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use machinery::{Catalog, Map, TypeId, Value};
use std::io::Write;
use store_api::Record;

/// Bytes as a body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer with these bytes.
pub fn respond(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// An answer of plain text.
pub fn text(code: u16, text: impl Into<String>) -> Response<Body> {
    let mut response = respond(code, "text/plain; charset=utf-8", text.into());
    response
        .headers_mut()
        .insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// Encodes any object of a known type.
pub fn object_bytes(
    object: &Value,
    accept: Accept,
    catalog: &Catalog,
    ty: Option<TypeId>,
) -> Result<Vec<u8>> {
    match (accept.media, ty) {
        (Media::Json, _) => Ok(codec::to_json(object, accept.pretty)),
        (Media::Yaml, _) => Ok(codec::to_yaml(object)),
        (Media::Protobuf, Some(ty)) => codec::to_proto(object, catalog, ty)
            .map_err(|e| ApiError::internal(format!("cannot encode an object: {e}"))),
        (Media::Protobuf, None) => Err(ApiError::not_acceptable("application/json, application/yaml")),
    }
}

/// An answer with an error, in the client's encoding where that has one for Status.
pub fn error(error: &ApiError, accept: Accept, catalog: Option<&Catalog>) -> Response<Body> {
    let status = error.to_value();
    let ty = catalog.and_then(|c| c.by_name.get(codec::STATUS_TYPE).copied());
    let encoded = match (accept.media, catalog) {
        (Media::Protobuf, Some(catalog)) => {
            object_bytes(&status, accept, catalog, ty).map(|b| (Media::Protobuf, b))
        }
        (Media::Yaml, _) => Ok((Media::Yaml, codec::to_yaml(&status))),
        _ => Ok((Media::Json, codec::to_json(&status, accept.pretty))),
    };
    let (media, bytes) = encoded.unwrap_or_else(|_| (Media::Json, codec::to_json(&status, false)));
    let mut response = respond(error.code(), media.content_type(), bytes);
    let retry = error.0.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        response
            .headers_mut()
            .insert("retry-after", HeaderValue::from(retry));
    }
    response
}

/// An answer with an object that is no resource's own type: Status, Scale, TokenRequest, Eviction, …
pub fn other(object: &Value, code: u16, cx: &Cx, catalog: &Catalog) -> Result<Response<Body>> {
    let ty = codec::type_of(catalog, object);
    let bytes = object_bytes(object, cx.accept, catalog, ty)?;
    Ok(respond(code, cx.accept.media.content_type(), bytes))
}

/// PartialObjectMetadata of an object.
pub fn partial(object: &Value) -> Value {
    let mut map = Map::with_capacity(3);
    map.push_new("kind", "PartialObjectMetadata".into());
    map.push_new("apiVersion", "meta.k8s.io/v1".into());
    map.push_new("metadata", object["metadata"].clone());
    Value::Map(map)
}

/// An answer with one object of a kind.
pub fn single(object: &Value, code: u16, cx: &Cx, kind: &Kind) -> Result<Response<Body>> {
    let media = cx.accept.media;
    let bytes = match cx.accept.shape {
        Shape::Object => object_bytes(object, cx.accept, kind.catalog, Some(kind.resource.ty))?,
        Shape::Metadata => {
            let ty = kind.catalog.by_name.get(codec::PARTIAL_TYPE).copied();
            object_bytes(&partial(object), cx.accept, kind.catalog, ty)?
        }
        Shape::Table => {
            let rows = vec![table::row(object, kind, cx.now, table::Include::of(cx)?)];
            let version = object
                .str_at(&["metadata", "resourceVersion"])
                .unwrap_or_default();
            let table = table::table(kind, rows, version, true);
            object_bytes(&table, cx.accept, kind.catalog, None)?
        }
    };
    let bytes = Bytes::from(bytes);
    let response = respond(code, media.content_type(), bytes.clone());
    Ok(maybe_gzip(response, &bytes, cx))
}

/// An answer with a stored object.
pub fn record(record: &Record, cx: &Cx, kind: &Kind) -> Result<Response<Body>> {
    let media = cx.accept.media;
    let as_stored = cx.accept.shape == Shape::Object && kind.is_stored_version();
    match media {
        Media::Protobuf if as_stored => {
            let bytes = codec::splice_revision(&record.value, record.mod_revision)?;
            Ok(respond(200, media.content_type(), bytes))
        }
        Media::Json if as_stored && !cx.accept.pretty => {
            let mut out = Vec::with_capacity(record.value.len() * 2 + 64);
            codec::stored_to_json(&record.value, record.mod_revision, kind, true, &mut out)?;
            out.push(b'\n');
            let bytes = Bytes::from(out);
            let response = respond(200, media.content_type(), bytes.clone());
            Ok(maybe_gzip(response, &bytes, cx))
        }
        _ => single(&storage::load(record, kind)?, 200, cx, kind),
    }
}

fn maybe_gzip(response: Response<Body>, bytes: &[u8], cx: &Cx) -> Response<Body> {
    if !cx.gzip || bytes.len() < crate::limits::MIN_GZIP {
        return response;
    }
    let mut gzip = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(1));
    let packed = gzip.write_all(bytes).and_then(|()| gzip.finish());
    let Ok(packed) = packed else { return response };
    let (mut parts, _) = response.into_parts();
    set_gzip(&mut parts.headers);
    Response::from_parts(parts, full(packed))
}

/// Marks an answer as compressed.
pub(crate) fn set_gzip(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// Whether the client takes gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| {
            v.split(',')
                .any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip"))
        })
}

/// An answer of pieces that are made while they are sent, compressed if asked.
fn maybe_gzip_stream(pieces: list::JsonPieces, gzip: bool) -> Response<Body> {
    use futures::StreamExt;
    use http_body::Frame;
    use http_body_util::StreamBody;
    let body: Body = if gzip {
        let packed = Gzip {
            pieces,
            encoder: Some(GzEncoder::new(Vec::new(), Compression::new(1))),
        };
        StreamBody::new(futures::stream::iter(packed).map(|p| p.map(Frame::data))).boxed_unsync()
    } else {
        StreamBody::new(futures::stream::iter(pieces).map(|p| p.map(Frame::data))).boxed_unsync()
    };
    let mut response = respond(200, Media::Json.content_type(), Bytes::new());
    *response.body_mut() = body;
    if gzip {
        set_gzip(response.headers_mut());
    }
    response
}

/// Compresses pieces as they come.
struct Gzip {
    pieces: list::JsonPieces,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Iterator for Gzip {
    type Item = std::io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let encoder = self.encoder.as_mut()?;
            match self.pieces.next() {
                Some(Ok(piece)) => {
                    if let Err(e) = encoder.write_all(&piece) {
                        self.encoder = None;
                        return Some(Err(e));
                    }
                    if encoder.get_ref().len() >= 16 * 1024 {
                        return Some(Ok(std::mem::take(encoder.get_mut()).into()));
                    }
                }
                Some(Err(e)) => {
                    self.encoder = None;
                    return Some(Err(e));
                }
                None => return Some(self.encoder.take()?.finish().map(Bytes::from)),
            }
        }
    }
}
