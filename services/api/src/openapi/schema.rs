//! Schemas of types: the table's facts in the words of OpenAPI.

use std::collections::BTreeSet;

use machinery::codec::json;
use machinery::{Catalog, Field, FieldType, ListType, Map, Resource, TypeId, Value, value};

use super::docs::Docs;

/// Which OpenAPI is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Version 2 (Swagger).
    V2,
    /// Version 3.
    V3,
}

impl Dialect {
    /// A reference to a schema.
    pub fn reference(self, name: &str) -> Value {
        let root = if self == Self::V2 {
            "#/definitions/"
        } else {
            "#/components/schemas/"
        };
        value!({"$ref": (format!("{root}{name}"))})
    }
}

/// What a set of roots refers to, directly or not.
#[derive(Debug, Default)]
pub struct Reached {
    /// Types of the catalog.
    pub types: BTreeSet<TypeId>,
    /// Names of types with a wire form of their own.
    pub(crate) scalars: BTreeSet<&'static str>,
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The schema's name of a type that has a wire form of its own.
fn own_name(ty: &FieldType) -> Option<&'static str> {
    Some(match ty {
        FieldType::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        FieldType::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        FieldType::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        FieldType::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        FieldType::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        FieldType::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        FieldType::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        FieldType::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        _ => return None,
    })
}

impl Reached {
    /// Adds a type by its full name, and what it refers to. Unknown names are ignored.
    pub fn add(&mut self, catalog: &Catalog, name: &str) {
        if let Some(&id) = catalog.by_name.get(name) {
            self.visit(catalog, id);
        }
    }

    fn visit(&mut self, catalog: &Catalog, id: TypeId) {
        if self.types.insert(id) {
            for field in &catalog.ty(id).fields {
                self.field(catalog, &field.ty);
            }
        }
    }

    fn field(&mut self, catalog: &Catalog, ty: &FieldType) {
        match ty {
            FieldType::Object(id) => self.visit(catalog, *id),
            FieldType::List(item) | FieldType::Map(item) => self.field(catalog, item),
            other => self.scalars.extend(own_name(other)),
        }
    }
}

/// The schema of a type. `served` are the resources whose group-versions name the kinds that stand in every group.
pub fn schema(catalog: &Catalog, id: TypeId, dialect: Dialect, docs: &Docs, served: &[&Resource]) -> Value {
    let ty = catalog.ty(id);
    let mut out = Map::new();
    let text = docs.of_type(ty.name);
    if !text.is_empty() {
        out.push_new("description", text.into());
    }
    if !ty.union {
        out.push_new("type", "object".into());
        let required: Vec<Value> = ty
            .fields
            .iter()
            .filter(|f| f.required)
            .map(|f| f.name.into())
            .collect();
        if !required.is_empty() {
            out.push_new("required", Value::List(required));
        }
        let mut texts = docs.of_fields(ty.name);
        let mut fields: Vec<&Field> = ty.fields.iter().collect();
        fields.sort_by_key(|f| f.name);
        let mut properties = Map::with_capacity(fields.len());
        for field in fields {
            let known = match field.name {
                // k8s-openapi has no such fields; the words are our own.
                "apiVersion" if ty.api_version.is_some() => {
                    Some("The version of the API that this object follows.".into())
                }
                "kind" if ty.api_version.is_some() => Some("The kind of object that this is.".into()),
                name => texts.remove(name),
            };
            properties.push_new(field.name, property(catalog, field, dialect, known));
        }
        if !properties.is_empty() {
            out.push_new("properties", Value::Map(properties));
        }
    }
    if let Some(version) = ty.api_version {
        out.push_new(
            "x-kubernetes-group-version-kind",
            Value::List(kinds(ty.name, version, ty.go_name(), served)),
        );
    }
    if ty.atomic {
        out.push_new("x-kubernetes-map-type", "atomic".into());
    }
    if ty.preserve_unknown {
        out.push_new("x-kubernetes-preserve-unknown-fields", true.into());
    }
    Value::Map(out)
}

fn kinds(name: &str, version: &'static str, kind: &'static str, served: &[&Resource]) -> Vec<Value> {
    let entry = |group: &'static str, version: &'static str| value!({"group": (group), "kind": (kind), "version": (version)});
    let everywhere = name.starts_with(META) && matches!(kind, "DeleteOptions" | "WatchEvent");
    if !everywhere {
        let (group, version) = match version {
            // Status and the documents of discovery stand in the core group.
            "meta.k8s.io/v1" => ("", "v1"),
            v => v.split_once('/').unwrap_or(("", v)),
        };
        return vec![entry(group, version)];
    }
    let versions: BTreeSet<(&'static str, &'static str)> =
        served.iter().map(|r| (r.group, r.version)).collect();
    versions
        .into_iter()
        .map(|(group, version)| entry(group, version))
        .collect()
}

/// The schema of a field.
fn property(catalog: &Catalog, field: &Field, dialect: Dialect, text: Option<String>) -> Value {
    let mut out = match (dialect, of_type(catalog, &field.ty, dialect)) {
        // Version 3 allows nothing beside a reference.
        (Dialect::V3, reference @ Value::Map(_)) if !reference["$ref"].is_null() => {
            let more = text.is_some() || field.default.is_some() || field.atomic || field.granular;
            if more {
                value!({"allOf": [(reference)]})
            } else {
                reference
            }
        }
        (_, schema) => schema,
    };
    let Value::Map(map) = &mut out else { return out };
    if let Some(text) = text {
        map.insert("description", text);
    }
    if let Some(default) = field.default.and_then(|d| json::parse(d.as_bytes()).ok())
        && dialect == Dialect::V3
    {
        map.insert("default", default);
    }
    if let FieldType::List(_) = field.ty {
        let kind = match field.list {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        // A list of objects that strategic merge patch merges is not called atomic where nothing is said for apply,
        // and the items of a list kind are no field that anybody applies.
        let said = field.list != ListType::Atomic || !(field.patch_merge || field.name == "items");
        if said {
            map.insert("x-kubernetes-list-type", kind);
        }
        if !field.map_keys.is_empty() {
            let keys: Vec<Value> = field.map_keys.iter().map(|k| (*k).into()).collect();
            map.insert("x-kubernetes-list-map-keys", keys);
        }
    } else if field.atomic || field.granular {
        map.insert(
            "x-kubernetes-map-type",
            if field.atomic { "atomic" } else { "granular" },
        );
    }
    if let Some(key) = field.patch_merge_key {
        map.insert("x-kubernetes-patch-merge-key", key);
    }
    let strategy = match (field.patch_merge, field.patch_retain_keys) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) if field.patch_replace => "replace",
        (false, false) => return out,
    };
    map.insert("x-kubernetes-patch-strategy", strategy);
    out
}

/// The schema of what a field holds.
pub(crate) fn of_type(catalog: &Catalog, ty: &FieldType, dialect: Dialect) -> Value {
    match ty {
        FieldType::String => value!({"type": "string"}),
        FieldType::Bool => value!({"type": "boolean"}),
        FieldType::Int32 => value!({"type": "integer", "format": "int32"}),
        FieldType::Int64 => value!({"type": "integer", "format": "int64"}),
        FieldType::Float => value!({"type": "number", "format": "double"}),
        FieldType::Bytes => value!({"type": "string", "format": "byte"}),
        FieldType::Object(id) => dialect.reference(catalog.ty(*id).name),
        FieldType::List(item) => value!({"type": "array", "items": (of_type(catalog, item, dialect))}),
        FieldType::Map(item) => {
            value!({"type": "object", "additionalProperties": (of_type(catalog, item, dialect))})
        }
        other => own_name(other).map_or_else(|| value!({}), |name| dialect.reference(name)),
    }
}

/// Name and schema of a type with a wire form of its own.
pub(crate) fn scalar(name: &'static str, dialect: Dialect, docs: &Docs) -> (String, Value) {
    let v3 = dialect == Dialect::V3;
    let mut schema = match name.rsplit('.').next() {
        Some("Time" | "MicroTime") => value!({"type": "string", "format": "date-time"}),
        Some("Quantity") if v3 => value!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Some("IntOrString") if v3 => {
            value!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        Some("IntOrString") => value!({"type": "string", "format": "int-or-string"}),
        Some("RawExtension" | "FieldsV1") => value!({"type": "object"}),
        Some("JSON") => value!({}),
        _ => value!({"type": "string"}),
    };
    let text = docs.of_type(name);
    if let Value::Map(map) = &mut schema
        && !text.is_empty()
    {
        map.insert("description", text);
    }
    (name.to_owned(), schema)
}
