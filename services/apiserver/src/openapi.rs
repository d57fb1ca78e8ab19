//! `/openapi/v2` and `/openapi/v3`: made once for each minor version, when somebody asks, and kept as bytes.
//!
//! The index of version 3 names each document with a hash, so that clients may keep it for good. The hash is of what the document
//! is made from (version of this program, minor, path), not of its bytes: the index costs no documents.

use crate::cx::Cx;
use crate::discovery::Document;
use crate::negotiate::clauses;
use crate::status::{ApiError, Result};
use crate::{ApiServer, Body, codec, encode};
use api::openapi;
use http::header::{ACCEPT, CACHE_CONTROL, LOCATION};
use http::{HeaderMap, HeaderValue, Response};
use machinery::{Catalog, Map, Value, value};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Documents that were made: by minor version and path.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<(u32, String), Document>>);

impl Documents {
    fn get(&self, minor: u32, name: &str, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<Document> {
        let key = (minor, name.to_owned());
        if let Some(known) = self.0.lock().get(&key) {
            return Some(known.clone());
        }
        let document = Document::new(make()?);
        self.0.lock().insert(key, document.clone());
        Some(document)
    }
}

/// Answers what lies below `/openapi`.
pub(crate) fn answer(
    server: &ApiServer,
    cx: &Cx,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Response<Body>>> {
    let Some(path) = path.strip_prefix("/openapi/") else {
        return Ok(None);
    };
    let path = path.trim_end_matches('/');
    let catalog = server.kinds(cx.cluster.minor).catalog;
    match path {
        "v2" => v2(server, catalog, headers).map(Some),
        "v3" => Ok(Some(encode::respond(
            200,
            "application/json",
            codec::to_json(&index(catalog), false),
        ))),
        _ => Ok(path
            .strip_prefix("v3/")
            .and_then(|name| v3(server, cx, catalog, name, headers))),
    }
}

fn v2(server: &ApiServer, catalog: &'static Catalog, headers: &HeaderMap) -> Result<Response<Body>> {
    let documents = &server.0.documents;
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    for clause in clauses(accept) {
        let document = match clause.ty {
            "application/json" | "*/*" | "application/*" => {
                let make = || Some(codec::to_json(&openapi::v2(catalog), false));
                documents
                    .get(catalog.minor, "v2", make)
                    .map(|d| (d, "application/json"))
            }
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
            | "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" => {
                let make = || Some(openapi::v2_protobuf(&openapi::v2(catalog)));
                documents
                    .get(catalog.minor, "v2.pb", make)
                    .map(|d| (d, openapi::V2_PROTOBUF))
            }
            _ => None,
        };
        if let Some((document, ty)) = document {
            return Ok(document.respond(ty, headers));
        }
    }
    Err(ApiError::not_acceptable(&format!(
        "application/json, {}",
        openapi::V2_PROTOBUF
    )))
}

fn hash(catalog: &Catalog, name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), catalog.minor, name).hash(&mut hasher);
    let first = hasher.finish();
    first.hash(&mut hasher);
    format!("{first:016X}{:016X}", hasher.finish())
}

fn index(catalog: &Catalog) -> Value {
    let mut paths = Map::new();
    for name in openapi::v3_paths(catalog) {
        let url = format!("/openapi/v3/{name}?hash={}", hash(catalog, &name));
        paths.insert(name, value!({"serverRelativeURL": url}));
    }
    value!({"paths": (Value::Map(paths))})
}

fn v3(
    server: &ApiServer,
    cx: &Cx,
    catalog: &'static Catalog,
    name: &str,
    headers: &HeaderMap,
) -> Option<Response<Body>> {
    let wanted = hash(catalog, name);
    let asked = cx.query.get("hash");
    let make = || openapi::v3(catalog, name).map(|v| codec::to_json(&v, false));
    let document = server.0.documents.get(catalog.minor, name, make)?;
    if asked.is_some_and(|h| h != wanted) {
        let mut response = encode::respond(301, "application/json", bytes::Bytes::new());
        if let Ok(to) = HeaderValue::from_str(&format!("/openapi/v3/{name}?hash={wanted}")) {
            response.headers_mut().insert(LOCATION, to);
        }
        return Some(response);
    }
    let mut response = document.respond("application/json", headers);
    if asked.is_some() {
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Some(response)
}
