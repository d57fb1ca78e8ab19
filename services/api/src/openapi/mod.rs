//! OpenAPI documents, made of the table: version 2 for all groups, version 3 for one group-version each.
//!
//! kubectl needs the definitions with their `x-kubernetes-` extensions (`explain`), the operations with
//! `x-kubernetes-action` and the parameters `dryRun` and `fieldValidation` of patches (`--dry-run=server`,
//! `--validate`). Making a document takes tens of milliseconds: the caller keeps what it made, once for each minor
//! version and not for each cluster. Custom resources use the same pieces ([`Paths`]).
//!
//! Descriptions of types and fields are read from `k8s-openapi` while building; those of operations and parameters are
//! our own. Left out: the deprecated `watch/` paths and defaults that only say "no pointer".

mod docs;
mod gnostic;
mod paths;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use machinery::{Catalog, Map, Resource, Value, value};

pub use docs::Docs;
pub use gnostic::document as v2_protobuf;
pub use paths::{Operations, Paths, Sub};
pub use schema::{Dialect, Reached, schema};

/// The media type of [`v2_protobuf`] in an answer. Clients ask for it with `@` before the version, which is no media type: kubectl up
/// to 1.27 refuses an answer that says it.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The paths of a resource of the catalog.
pub fn paths_of<'a>(catalog: &'a Catalog, resource: &'a Resource) -> Paths<'a> {
    let name = |version: &str, kind: &str| {
        let ty = catalog
            .by_kind
            .get(&(version, kind))
            .or_else(|| catalog.by_kind.get(&("v1", kind)));
        ty.map(|ty| catalog.ty(*ty).name)
    };
    let own = resource.api_version();
    let subs = resource.subresources.iter().map(|sub| {
        let version = match (sub.group, sub.version) {
            (_, "") => own.clone(),
            ("", version) => version.to_owned(),
            (group, version) => format!("{group}/{version}"),
        };
        Sub {
            name: sub.name,
            version: version.clone(),
            kind: sub.kind,
            schema: name(&version, sub.kind),
            verbs: sub.verbs.clone(),
        }
    });
    Paths {
        group: resource.group,
        version: resource.version,
        kind: resource.kind,
        plural: resource.plural,
        namespaced: resource.namespaced,
        verbs: resource.verbs.clone(),
        schema: Some(catalog.ty(resource.ty).name),
        list_schema: name(&own, &format!("{}List", resource.kind)),
        subs: subs.collect(),
    }
}

/// The group-versions that have a document of version 3, as its paths: `api/v1`, `apis/apps/v1`.
pub fn v3_paths(catalog: &Catalog) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for resource in &catalog.resources {
        let path = v3_path(resource);
        if !out.contains(&path) {
            out.push(path);
        }
    }
    out
}

fn v3_path(resource: &Resource) -> String {
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", resource.api_version())
}

/// The document of version 3 of one group-version, by its path (`apis/apps/v1`); `None` if there is none.
pub fn v3(catalog: &Catalog, path: &str) -> Option<Value> {
    let resources: Vec<&Resource> = catalog.resources.iter().filter(|r| v3_path(r) == path).collect();
    if resources.is_empty() {
        return None;
    }
    let (operations, schemas) = parts(catalog, &resources, Dialect::V3);
    Some(value!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": (format!("v1.{}.0", catalog.minor))},
        "paths": (operations),
        "components": {"schemas": (schemas), "securitySchemes": {"BearerToken": (bearer())}},
        "security": [{"BearerToken": []}],
    }))
}

/// The document of version 2, for all groups.
pub fn v2(catalog: &Catalog) -> Value {
    let resources: Vec<&Resource> = catalog.resources.iter().collect();
    let (operations, schemas) = parts(catalog, &resources, Dialect::V2);
    value!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": (format!("v1.{}.0", catalog.minor))},
        "paths": (operations),
        "definitions": (schemas),
        "securityDefinitions": {"BearerToken": (bearer())},
        "security": [{"BearerToken": []}],
    })
}

fn bearer() -> Value {
    value!({"description": "Bearer token", "type": "apiKey", "name": "authorization", "in": "header"})
}

/// The operations and the schemas that they need, each sorted.
fn parts(catalog: &Catalog, resources: &[&Resource], dialect: Dialect) -> (Value, Value) {
    let docs = Docs::read();
    let mut reached = Reached::default();
    let mut operations = Operations::new(dialect);
    for resource in resources {
        let paths = paths_of(catalog, resource);
        for name in paths.schemas() {
            reached.add(catalog, name);
        }
        operations.add(&paths, catalog);
    }
    for kind in [
        "DeleteOptions",
        "Patch",
        "Status",
        "WatchEvent",
        "APIGroupList",
        "APIResourceList",
        "APIVersions",
    ] {
        reached.add(catalog, &format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"));
    }
    reached.add(catalog, "io.k8s.apimachinery.pkg.version.Info");
    let versions: Vec<&Resource> = catalog.resources.iter().collect();
    let sorted: BTreeMap<String, Value> = reached
        .types
        .iter()
        .map(|&id| {
            (
                catalog.ty(id).name.to_owned(),
                schema(catalog, id, dialect, &docs, &versions),
            )
        })
        .chain(
            reached
                .scalars
                .iter()
                .map(|ty| schema::scalar(ty, dialect, &docs)),
        )
        .collect();
    (operations.finish(), sorted_map(sorted))
}

/// A map of sorted entries.
pub(crate) fn sorted_map(entries: BTreeMap<String, Value>) -> Value {
    let mut map = Map::with_capacity(entries.len());
    for (key, value) in entries {
        map.push_new(key, value);
    }
    Value::Map(map)
}
