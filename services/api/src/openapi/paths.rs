//! Operations: which method on which path does what, with which parameters.

use std::collections::BTreeMap;

use machinery::{Catalog, FieldType, Map, Value, value};

use super::schema::Dialect;
use super::sorted_map;

/// A resource and everything that OpenAPI needs of it; custom resources make their own.
#[derive(Clone, Debug)]
pub struct Paths<'a> {
    /// Group; empty for core.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Plural.
    pub plural: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of discovery.
    pub verbs: Vec<&'a str>,
    /// Name of the object's schema.
    pub schema: Option<&'a str>,
    /// Name of the list's schema.
    pub list_schema: Option<&'a str>,
    /// Sub-resources.
    pub subs: Vec<Sub<'a>>,
}

/// A sub-resource.
#[derive(Clone, Debug)]
pub struct Sub<'a> {
    /// Name.
    pub name: &'a str,
    /// `apiVersion` of the kind it takes and gives.
    pub version: String,
    /// That kind.
    pub kind: &'a str,
    /// Name of that kind's schema.
    pub schema: Option<&'a str>,
    /// Verbs of discovery.
    pub verbs: Vec<&'a str>,
}

impl<'a> Paths<'a> {
    /// The names of the schemas that the operations refer to. Options are not among them: they are parameters.
    pub fn schemas(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.schema
            .into_iter()
            .chain(self.list_schema)
            .chain(self.subs.iter().filter_map(|s| s.schema))
            .filter(|name| !name.ends_with("Options"))
    }
}

/// Paths in the making.
#[derive(Debug)]
pub struct Operations {
    dialect: Dialect,
    paths: BTreeMap<String, Value>,
}

/// One operation, before it is written down.
struct Operation<'a> {
    /// HTTP method, in small letters.
    method: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// First word of the operation's id.
    word: &'static str,
    /// What it does to the kind, for the description.
    does: &'static str,
    parameters: Vec<Value>,
    /// Schema of the body.
    body: Option<Value>,
    /// Schema of the answer.
    answer: Option<Value>,
    kind: (&'a str, &'a str, &'a str),
}

const OBJECT: [&str; 4] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/cbor",
];
const PATCHES: [&str; 5] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

impl Operations {
    /// No paths yet.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            paths: BTreeMap::new(),
        }
    }

    /// The paths, sorted.
    pub fn finish(self) -> Value {
        sorted_map(self.paths)
    }

    /// Adds the paths of a resource.
    pub fn add(&mut self, paths: &Paths<'_>, catalog: &Catalog) {
        let root = match paths.group {
            "" => format!("/api/{}", paths.version),
            group => format!("/apis/{group}/{}", paths.version),
        };
        let base = match paths.namespaced {
            true => format!("{root}/namespaces/{{namespace}}/{}", paths.plural),
            false => format!("{root}/{}", paths.plural),
        };
        if paths.namespaced && paths.verbs.contains(&"list") {
            let list = self.list(paths);
            self.put(
                &format!("{root}/{}", paths.plural),
                paths,
                "ForAllNamespaces",
                vec![list],
            );
        }
        let collection = self.collection(paths);
        self.put(&base, paths, "", collection);
        let object = self.object(paths);
        self.put(&format!("{base}/{{name}}"), paths, "", object);
        for sub in &paths.subs {
            let operations = self.sub(paths, sub, catalog);
            self.put(
                &format!("{base}/{{name}}/{}", sub.name),
                paths,
                &camel(sub.name),
                operations,
            );
            if sub.name == "proxy" {
                let operations = self.sub(paths, sub, catalog);
                self.put(
                    &format!("{base}/{{name}}/proxy/{{path}}"),
                    paths,
                    "ProxyWithPath",
                    operations,
                );
            }
        }
    }

    fn reference(&self, name: Option<&str>) -> Option<Value> {
        name.map(|name| self.dialect.reference(name))
    }

    fn list<'a>(&self, paths: &Paths<'a>) -> Operation<'a> {
        Operation {
            method: "get",
            action: "list",
            word: "list",
            does: "list or watch objects of kind",
            parameters: self.list_parameters(),
            body: None,
            answer: self.reference(paths.list_schema),
            kind: (paths.group, paths.version, paths.kind),
        }
    }

    fn collection<'a>(&self, paths: &Paths<'a>) -> Vec<Operation<'a>> {
        let kind = (paths.group, paths.version, paths.kind);
        let mut out = Vec::new();
        if paths.verbs.contains(&"list") {
            out.push(self.list(paths));
        }
        if paths.verbs.contains(&"create") {
            out.push(Operation {
                method: "post",
                action: "post",
                word: "create",
                does: "create a",
                parameters: self.write_parameters(),
                body: self.reference(paths.schema),
                answer: self.reference(paths.schema),
                kind,
            });
        }
        if paths.verbs.contains(&"deletecollection") {
            let mut parameters = self.delete_parameters();
            parameters.extend(
                self.list_parameters()
                    .into_iter()
                    .filter(|p| !matches!(p["name"].as_str(), Some("watch" | "allowWatchBookmarks"))),
            );
            out.push(Operation {
                method: "delete",
                action: "deletecollection",
                word: "deleteCollection",
                does: "delete collection of",
                parameters,
                body: self.reference(Some(DELETE_OPTIONS)),
                answer: self.reference(Some(STATUS)),
                kind,
            });
        }
        out
    }

    fn object<'a>(&self, paths: &Paths<'a>) -> Vec<Operation<'a>> {
        let kind = (paths.group, paths.version, paths.kind);
        let mut out = self.get_put_patch(&paths.verbs, paths.schema, kind);
        if paths.verbs.contains(&"delete") {
            out.push(Operation {
                method: "delete",
                action: "delete",
                word: "delete",
                does: "delete a",
                parameters: self.delete_parameters(),
                body: self.reference(Some(DELETE_OPTIONS)),
                answer: self.reference(Some(STATUS)),
                kind,
            });
        }
        out
    }

    fn get_put_patch<'a>(
        &self,
        verbs: &[&str],
        schema: Option<&str>,
        kind: (&'a str, &'a str, &'a str),
    ) -> Vec<Operation<'a>> {
        let mut out = Vec::new();
        if verbs.contains(&"get") {
            out.push(Operation {
                method: "get",
                action: "get",
                word: "read",
                does: "read the specified",
                parameters: Vec::new(),
                body: None,
                answer: self.reference(schema),
                kind,
            });
        }
        if verbs.contains(&"update") {
            out.push(Operation {
                method: "put",
                action: "put",
                word: "replace",
                does: "replace the specified",
                parameters: self.write_parameters(),
                body: self.reference(schema),
                answer: self.reference(schema),
                kind,
            });
        }
        if verbs.contains(&"patch") {
            let mut parameters = self.write_parameters();
            parameters.push(self.query(
                "force",
                "boolean",
                "Take over fields of other managers (apply only).",
            ));
            out.push(Operation {
                method: "patch",
                action: "patch",
                word: "patch",
                does: "partially update the specified",
                parameters,
                body: self.reference(Some(PATCH)),
                answer: self.reference(schema),
                kind,
            });
        }
        out
    }

    fn sub<'a>(&self, paths: &Paths<'a>, sub: &'a Sub<'a>, catalog: &Catalog) -> Vec<Operation<'a>> {
        let (group, version) = sub.version.split_once('/').unwrap_or(("", &sub.version));
        let kind = (group, version, sub.kind);
        if sub.kind.ends_with("Options") {
            return self.connect(sub, catalog, kind);
        }
        if paths.kind == "Pod" && sub.name == "log" {
            let mut log = self.get_put_patch(&["get"], None, kind);
            for operation in &mut log {
                operation.parameters = self.option_parameters(catalog, "io.k8s.api.core.v1.PodLogOptions");
                operation.answer = Some(value!({"type": "string"}));
            }
            return log;
        }
        let mut out = self.get_put_patch(&sub.verbs, sub.schema, kind);
        if sub.verbs.contains(&"create") {
            out.push(Operation {
                method: "post",
                action: "post",
                word: "create",
                does: "create",
                parameters: self.write_parameters(),
                body: self.reference(sub.schema),
                answer: self.reference(sub.schema),
                kind,
            });
        }
        out
    }

    fn connect<'a>(
        &self,
        sub: &Sub<'a>,
        catalog: &Catalog,
        kind: (&'a str, &'a str, &'a str),
    ) -> Vec<Operation<'a>> {
        let methods = [
            ("get", "connectGet"),
            ("post", "connectPost"),
            ("put", "connectPut"),
            ("delete", "connectDelete"),
            ("patch", "connectPatch"),
            ("options", "connectOptions"),
            ("head", "connectHead"),
        ];
        let count = if sub.verbs.contains(&"update") {
            methods.len()
        } else {
            2
        };
        let all = methods.into_iter().take(count).map(|(method, word)| Operation {
            method,
            action: "connect",
            word,
            does: "connect requests to",
            parameters: sub
                .schema
                .map(|name| self.option_parameters(catalog, name))
                .unwrap_or_default(),
            body: None,
            answer: Some(value!({"type": "string"})),
            kind,
        });
        all.collect()
    }

    /// The fields of an options type as query parameters.
    fn option_parameters(&self, catalog: &Catalog, name: &str) -> Vec<Value> {
        let Some(&id) = catalog.by_name.get(name) else {
            return Vec::new();
        };
        let fields = catalog
            .ty(id)
            .fields
            .iter()
            .filter(|f| f.name != "apiVersion" && f.name != "kind");
        fields
            .map(|field| {
                let ty = match &field.ty {
                    FieldType::Bool => "boolean",
                    FieldType::Int32 | FieldType::Int64 => "integer",
                    FieldType::List(item) if matches!(**item, FieldType::Int32) => "integer",
                    _ => "string",
                };
                self.query(field.name, ty, "")
            })
            .collect()
    }

    fn list_parameters(&self) -> Vec<Value> {
        [
            (
                "allowWatchBookmarks",
                "boolean",
                "Ask for bookmarks while watching.",
            ),
            ("continue", "string", "Where the page before this one ended."),
            ("fieldSelector", "string", "Restrict the objects by their fields."),
            ("labelSelector", "string", "Restrict the objects by their labels."),
            ("limit", "integer", "Most objects in one page."),
            ("resourceVersion", "string", "How recent the objects must be."),
            ("resourceVersionMatch", "string", "How resourceVersion is meant."),
            (
                "sendInitialEvents",
                "boolean",
                "Start a watch with the objects there are.",
            ),
            ("timeoutSeconds", "integer", "When to end the call."),
            ("watch", "boolean", "Send changes as they happen."),
        ]
        .map(|(name, ty, text)| self.query(name, ty, text))
        .into()
    }

    fn write_parameters(&self) -> Vec<Value> {
        [
            ("dryRun", "string", "All: do everything but store the result."),
            ("fieldManager", "string", "Name of whoever makes this change."),
            (
                "fieldValidation",
                "string",
                "Ignore, Warn or Strict: what to do about unknown and duplicate fields.",
            ),
        ]
        .map(|(name, ty, text)| self.query(name, ty, text))
        .into()
    }

    fn delete_parameters(&self) -> Vec<Value> {
        [
            ("dryRun", "string", "All: do everything but store the result."),
            (
                "gracePeriodSeconds",
                "integer",
                "Seconds until the object is gone; zero is at once.",
            ),
            (
                "orphanDependents",
                "boolean",
                "Deprecated: use propagationPolicy.",
            ),
            (
                "propagationPolicy",
                "string",
                "Orphan, Background or Foreground: what happens to dependents.",
            ),
        ]
        .map(|(name, ty, text)| self.query(name, ty, text))
        .into()
    }

    fn query(&self, name: &'static str, ty: &'static str, text: &'static str) -> Value {
        self.parameter("query", name, ty, text, false)
    }

    fn parameter(
        &self,
        place: &'static str,
        name: &'static str,
        ty: &'static str,
        text: &'static str,
        must: bool,
    ) -> Value {
        let mut out = Map::new();
        out.push_new("name", name.into());
        out.push_new("in", place.into());
        if !text.is_empty() {
            out.push_new("description", text.into());
        }
        if must {
            out.push_new("required", true.into());
        }
        match self.dialect {
            Dialect::V2 => {
                out.push_new("type", ty.into());
                out.push_new("uniqueItems", true.into());
            }
            Dialect::V3 => out.push_new("schema", value!({"type": (ty), "uniqueItems": true})),
        }
        Value::Map(out)
    }

    fn put(&mut self, path: &str, paths: &Paths<'_>, suffix: &str, operations: Vec<Operation<'_>>) {
        if operations.is_empty() {
            return;
        }
        let mut item = Map::new();
        for operation in operations {
            let method = operation.method;
            item.push_new(
                method,
                self.operation(paths, suffix, path.contains("{namespace}"), operation),
            );
        }
        let mut parameters = Vec::new();
        if path.contains("{name}") {
            parameters.push(self.parameter("path", "name", "string", "Name of the object.", true));
        }
        if path.contains("{namespace}") {
            parameters.push(self.parameter("path", "namespace", "string", "Namespace of the object.", true));
        }
        if path.contains("{path}") {
            parameters.push(self.parameter("path", "path", "string", "Path behind the proxy.", true));
        }
        parameters.push(self.query("pretty", "string", "Print the answer with line breaks."));
        item.push_new("parameters", Value::List(parameters));
        self.paths.insert(path.to_owned(), Value::Map(item));
    }

    fn operation(
        &self,
        paths: &Paths<'_>,
        suffix: &str,
        in_namespace: bool,
        operation: Operation<'_>,
    ) -> Value {
        let group = group_name(paths.group);
        let version = camel(paths.version);
        let scope = if in_namespace { "Namespaced" } else { "" };
        let (first, second) = match operation.word {
            "deleteCollection" => ("delete", "Collection"),
            word if word.starts_with("connect") => ("connect", &word[7..]),
            word => (word, ""),
        };
        let kind = paths.kind;
        let (own_group, own_version, own_kind) = operation.kind;
        let mut out = value!({
            "description": (format!("{} {kind}", operation.does)),
            "operationId": (format!("{first}{group}{version}{second}{scope}{kind}{suffix}")),
            "tags": [(format!("{}_{}", group_tag(paths.group), paths.version))],
            "x-kubernetes-action": (operation.action),
            "x-kubernetes-group-version-kind": {
                "group": (own_group.to_owned()),
                "kind": (own_kind.to_owned()),
                "version": (own_version.to_owned()),
            },
        });
        match self.dialect {
            Dialect::V2 => v2(&mut out, operation),
            Dialect::V3 => v3(&mut out, operation),
        }
        out
    }
}

/// What only version 2 says of an operation.
fn v2(out: &mut Value, mut operation: Operation<'_>) {
    let texts = |list: &[&'static str]| Value::List(list.iter().map(|t| Value::from(*t)).collect());
    let map = out.at_mut(&[]);
    let patch = operation.action == "patch";
    map.insert("consumes", if patch { texts(&PATCHES) } else { texts(&["*/*"]) });
    map.insert(
        "produces",
        if operation.action == "connect" {
            texts(&["*/*"])
        } else {
            texts(&OBJECT)
        },
    );
    map.insert("schemes", texts(&["https"]));
    if let Some(body) = operation.body {
        let must = operation.method != "delete";
        let mut parameter = value!({"name": "body", "in": "body", "schema": (body)});
        if must {
            parameter.at_mut(&[]).insert("required", true);
        }
        operation.parameters.insert(0, parameter);
    }
    if !operation.parameters.is_empty() {
        map.insert("parameters", operation.parameters);
    }
    let mut responses = Map::new();
    for (code, text) in answers(operation.action, operation.method) {
        let mut response = value!({"description": (*text)});
        if let Some(schema) = &operation.answer {
            response.at_mut(&[]).insert("schema", schema.clone());
        }
        responses.push_new(*code, response);
    }
    responses.push_new("401", value!({"description": "Unauthorized"}));
    map.insert("responses", responses);
}

/// What only version 3 says of an operation.
fn v3(out: &mut Value, operation: Operation<'_>) {
    let content = |types: &[&'static str], schema: &Value| {
        let mut map = Map::new();
        for ty in types {
            map.push_new(*ty, value!({"schema": (schema.clone())}));
        }
        Value::Map(map)
    };
    let map = out.at_mut(&[]);
    if let Some(body) = &operation.body {
        let types: &[&'static str] = if operation.action == "patch" {
            &PATCHES
        } else {
            &["*/*"]
        };
        let mut request = value!({"content": (content(types, body))});
        if operation.method != "delete" {
            request.at_mut(&[]).insert("required", true);
        }
        map.insert("requestBody", request);
    }
    if !operation.parameters.is_empty() {
        map.insert("parameters", operation.parameters);
    }
    let mut responses = Map::new();
    for (code, text) in answers(operation.action, operation.method) {
        let mut response = value!({"description": (*text)});
        if let Some(schema) = &operation.answer {
            let types: &[&'static str] = if operation.action == "connect" {
                &["*/*"]
            } else {
                &OBJECT
            };
            response.at_mut(&[]).insert("content", content(types, schema));
        }
        responses.push_new(*code, response);
    }
    responses.push_new("401", value!({"description": "Unauthorized"}));
    map.insert("responses", responses);
}

fn answers(action: &str, method: &str) -> &'static [(&'static str, &'static str)] {
    match (action, method) {
        ("post", _) => &[("200", "OK"), ("201", "Created"), ("202", "Accepted")],
        ("put" | "patch", _) => &[("200", "OK"), ("201", "Created")],
        ("delete", _) => &[("200", "OK"), ("202", "Accepted")],
        _ => &[("200", "OK")],
    }
}

/// `rbac.authorization.k8s.io` as `RbacAuthorization`, core as `Core`.
fn group_name(group: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    if group.is_empty() {
        "Core".into()
    } else {
        group.split('.').map(camel).collect()
    }
}

/// `rbac.authorization.k8s.io` as `rbacAuthorization`, core as `core`.
fn group_tag(group: &str) -> String {
    let name = group_name(group);
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| {
        c.to_ascii_lowercase().to_string() + chars.as_str()
    })
}

fn camel(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| {
        c.to_ascii_uppercase().to_string() + chars.as_str()
    })
}
