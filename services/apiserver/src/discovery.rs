//! Discovery: which groups, versions and resources there are, one document a level and the aggregated form.
//!
//! The documents of a minor version are the same in every cluster: they are made once, and found by their path.

use crate::cx::Cx;
use crate::negotiate::clauses;
use crate::status::Result;
use crate::{ApiServer, Body, codec, encode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response};
use machinery::{Catalog, Map, Resource, Value, value};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Documents that were made.
#[derive(Default)]
pub(crate) struct Documents(Mutex<HashMap<(u32, String, bool), Option<Document>>>);

/// One document and its entity tag.
#[derive(Clone)]
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) etag: String,
}

impl Document {
    /// A document with a tag made of its content.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let (a, mut again) = (hasher.finish(), DefaultHasher::new());
        (a, bytes.len()).hash(&mut again);
        let etag = format!("{a:016X}{:016X}", again.finish());
        Self {
            bytes: bytes.into(),
            etag,
        }
    }

    /// The answer; 304 if the client has it already.
    pub(crate) fn respond(&self, content_type: &'static str, headers: &HeaderMap) -> Response<Body> {
        let tag = format!("\"{}\"", self.etag);
        let known = headers
            .get(IF_NONE_MATCH)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.contains(&tag));
        let mut response = match known {
            true => encode::respond(304, content_type, Bytes::new()),
            false => encode::respond(200, content_type, self.bytes.clone()),
        };
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("Accept"));
        response
    }
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers `/`, `/api`, `/apis` and what is below them.
pub(crate) fn answer(
    server: &ApiServer,
    cx: &Cx,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Response<Body>>> {
    let path = path.trim_end_matches('/');
    let top = matches!(path, "/api" | "/apis");
    if !(top || path.is_empty() || path.starts_with("/api/") || path.starts_with("/apis/")) {
        return Ok(None);
    }
    let aggregated = top && wants_aggregated(headers);
    let catalog = server.kinds(cx.cluster.minor).catalog;
    let key = (catalog.minor, path.to_owned(), aggregated);
    let mut known = server.0.discovery.0.lock();
    let document = match known.get(&key) {
        Some(document) => document.clone(),
        None => {
            let made = make(catalog, path, aggregated).map(|v| Document::new(codec::to_json(&v, false)));
            // Paths that name nothing are a client's choice and are not remembered.
            if made.is_some() {
                known.insert(key, made.clone());
            }
            made
        }
    };
    drop(known);
    let ty = if aggregated {
        AGGREGATED
    } else {
        "application/json"
    };
    Ok(document.map(|d| d.respond(ty, headers)))
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    for clause in clauses(accept) {
        let get = |key| {
            clause
                .params
                .iter()
                .find(|(k, _)| *k == key)
                .map_or("", |(_, v)| *v)
        };
        match (clause.ty, get("as"), get("g"), get("v")) {
            ("application/json", "APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => return true,
            ("application/json" | "*/*" | "application/*", "", ..) => return false,
            _ => {}
        }
    }
    false
}

/// Groups in the catalog's order, each with its versions in theirs.
fn groups(catalog: &Catalog) -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for resource in &catalog.resources {
        match groups.iter_mut().find(|(g, _)| *g == resource.group) {
            Some((_, versions)) if versions.contains(&resource.version) => {}
            Some((_, versions)) => versions.push(resource.version),
            None => groups.push((resource.group, vec![resource.version])),
        }
    }
    groups
}

fn strings(list: &[&'static str]) -> Value {
    Value::List(list.iter().map(|s| Value::from(*s)).collect())
}

fn make(catalog: &Catalog, path: &str, aggregated: bool) -> Option<Value> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match &parts[..] {
        [] => Some(root(catalog)),
        ["api"] if aggregated => Some(aggregated_list(catalog, true)),
        ["apis"] if aggregated => Some(aggregated_list(catalog, false)),
        ["api"] => Some(value!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "kubernetes.default.svc:443"}]
        })),
        ["apis"] => {
            let all = groups(catalog)
                .into_iter()
                .filter(|(g, _)| !g.is_empty())
                .map(|(g, v)| group(g, &v, false));
            Some(value!({"kind": "APIGroupList", "apiVersion": "v1", "groups": (Value::List(all.collect()))}))
        }
        ["apis", name] => {
            let (g, versions) = groups(catalog)
                .into_iter()
                .find(|(g, _)| g == name && !g.is_empty())?;
            Some(group(g, &versions, true))
        }
        ["api", version] => resources(catalog, "", version),
        ["apis", name, version] => resources(catalog, name, version),
        _ => None,
    }
}

fn root(catalog: &Catalog) -> Value {
    let mut paths: Vec<String> = vec!["/api".into(), "/api/v1".into(), "/apis".into(), "/apis/".into()];
    for (group, versions) in groups(catalog).into_iter().filter(|(g, _)| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    let more = [
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ];
    paths.extend(more.iter().map(|p| (*p).to_owned()));
    paths.sort();
    value!({"paths": (Value::List(paths.into_iter().map(Value::from).collect()))})
}

fn group(name: &'static str, versions: &[&'static str], alone: bool) -> Value {
    let version = |v: &str| value!({"groupVersion": (format!("{name}/{v}")), "version": (v.to_owned())});
    let mut map = Map::new();
    if alone {
        map.insert("kind", "APIGroup");
        map.insert("apiVersion", "v1");
    }
    map.insert("name", name);
    map.insert(
        "versions",
        Value::List(versions.iter().map(|v| version(v)).collect()),
    );
    if let Some(first) = versions.first() {
        map.insert("preferredVersion", version(first));
    }
    Value::Map(map)
}

fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    let mut name = None;
    for r in catalog
        .resources
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        name = Some(r.api_version());
        let mut map = Map::new();
        map.insert("name", r.plural);
        map.insert("singularName", r.singular);
        map.insert("namespaced", r.namespaced);
        map.insert("kind", r.kind);
        map.insert("verbs", strings(&r.verbs));
        if !r.short_names.is_empty() {
            map.insert("shortNames", strings(&r.short_names));
        }
        if !r.categories.is_empty() {
            map.insert("categories", strings(&r.categories));
        }
        map.insert("storageVersionHash", storage_hash(r));
        list.push(Value::Map(map));
        for s in &r.subresources {
            let mut map = Map::new();
            map.insert("name", format!("{}/{}", r.plural, s.name));
            map.insert("singularName", "");
            map.insert("namespaced", r.namespaced);
            if !s.version.is_empty() && (s.group, s.version) != (r.group, r.version) {
                map.insert("group", s.group);
                map.insert("version", s.version);
            }
            map.insert("kind", s.kind);
            map.insert("verbs", strings(&s.verbs));
            list.push(Value::Map(map));
        }
    }
    let name = name?;
    list.sort_by(|a, b| a.str_at(&["name"]).cmp(&b.str_at(&["name"])));
    let mut map = Map::new();
    map.insert("kind", "APIResourceList");
    if !group.is_empty() {
        map.insert("apiVersion", "v1");
    }
    map.insert("groupVersion", name);
    map.insert("resources", Value::List(list));
    Some(Value::Map(map))
}

/// A short opaque text that changes when the stored version does.
fn storage_hash(r: &Resource) -> String {
    let mut hasher = DefaultHasher::new();
    (r.group, r.storage_version, r.kind).hash(&mut hasher);
    URL_SAFE_NO_PAD.encode(hasher.finish().to_be_bytes())
}

fn response_kind(group: &str, version: &str, kind: &str) -> Value {
    value!({"group": (group.to_owned()), "version": (version.to_owned()), "kind": (kind.to_owned())})
}

fn aggregated_list(catalog: &Catalog, core: bool) -> Value {
    let items = groups(catalog)
        .into_iter()
        .filter(|(g, _)| g.is_empty() == core)
        .map(|(group, versions)| {
            let mut meta = Map::new();
            if !core {
                meta.insert("name", group);
            }
            meta.insert("creationTimestamp", Value::Null);
            let versions = versions.into_iter().map(|version| {
                let all = catalog
                    .resources
                    .iter()
                    .filter(|r| r.group == group && r.version == version);
                let list: Vec<Value> = all.map(aggregated_resource).collect();
                value!({"version": version, "resources": (Value::List(list)), "freshness": "Current"})
            });
            value!({"metadata": (Value::Map(meta)), "versions": (Value::List(versions.collect()))})
        });
    value!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": (Value::List(items.collect()))
    })
}

fn aggregated_resource(r: &Resource) -> Value {
    let mut map = Map::new();
    map.insert("resource", r.plural);
    map.insert("responseKind", response_kind(r.group, r.version, r.kind));
    map.insert("scope", if r.namespaced { "Namespaced" } else { "Cluster" });
    map.insert("singularResource", r.singular);
    map.insert("verbs", strings(&r.verbs));
    if !r.short_names.is_empty() {
        map.insert("shortNames", strings(&r.short_names));
    }
    if !r.categories.is_empty() {
        map.insert("categories", strings(&r.categories));
    }
    if !r.subresources.is_empty() {
        let subs = r.subresources.iter().map(|s| {
            let (group, version) = if s.version.is_empty() {
                (r.group, r.version)
            } else {
                (s.group, s.version)
            };
            value!({
                "subresource": (s.name),
                "responseKind": (response_kind(group, version, s.kind)),
                "verbs": (strings(&s.verbs))
            })
        });
        map.insert("subresources", Value::List(subs.collect()));
    }
    Value::Map(map)
}
