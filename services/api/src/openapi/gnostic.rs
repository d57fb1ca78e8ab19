//! The document of version 2 as protobuf (`openapi.v2.Document` of gnostic), which client-go asks for.
//!
//! Field numbers are those of gnostic's `OpenAPIv2.proto`. What it has no field for goes in as vendor extensions, whose
//! values are YAML; JSON is YAML.

use machinery::codec::json;
use machinery::{Map, Value};

/// A message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }
    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number << 3 | 2));
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }
    fn texts(&mut self, number: u32, value: &Value) {
        for text in value.as_list().unwrap_or(&[]) {
            self.bytes(number, text.as_str().unwrap_or("").as_bytes());
        }
    }
    fn flag(&mut self, number: u32, value: &Value) {
        if value.as_bool() == Some(true) {
            self.varint(u64::from(number << 3));
            self.0.push(1);
        }
    }
    fn message(&mut self, number: u32, inner: Message) {
        self.bytes(number, &inner.0);
    }
    /// A name and a message: how gnostic writes the members of maps.
    fn named(&mut self, number: u32, name: &str, value: Message) {
        let mut entry = Message::default();
        entry.bytes(1, name.as_bytes());
        entry.message(2, value);
        self.message(number, entry);
    }
    /// Every `x-` member as a vendor extension.
    fn extensions(&mut self, number: u32, map: &Map) {
        for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.named(number, name, any(value));
        }
    }
}

fn any(value: &Value) -> Message {
    let mut out = Message::default();
    let mut yaml = json::to_vec(value);
    yaml.push(b'\n');
    out.bytes(2, &yaml);
    out
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_map().into_iter().flat_map(Map::iter)
}

/// A document made by [`super::v2`] as protobuf.
pub fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, document.at(&["info", "title"]));
    info.text(2, document.at(&["info", "version"]));
    out.message(2, info);
    let mut paths = Message::default();
    for (path, item) in members(&document["paths"]) {
        paths.named(2, path, path_item(item));
    }
    out.message(8, paths);
    let mut definitions = Message::default();
    for (name, value) in members(&document["definitions"]) {
        definitions.named(1, name, schema(value));
    }
    out.message(9, definitions);
    for requirement in document.list_at(&["security"]) {
        out.message(12, security(requirement));
    }
    let mut schemes = Message::default();
    for (name, value) in members(&document["securityDefinitions"]) {
        let mut key = Message::default();
        for (number, member) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
            key.text(number, &value[member]);
        }
        let mut item = Message::default();
        // SecurityDefinitionsItem.api_key_security
        item.message(2, key);
        schemes.named(1, name, item);
    }
    out.message(13, schemes);
    out.0
}

fn security(requirement: &Value) -> Message {
    let mut out = Message::default();
    for (name, scopes) in members(requirement) {
        let mut list = Message::default();
        list.texts(1, scopes);
        out.named(1, name, list);
    }
    out
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    let methods = [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (6, "options"),
        (7, "head"),
        (8, "patch"),
    ];
    for (number, method) in methods {
        if let Some(value) = item.get(method) {
            out.message(number, operation(value));
        }
    }
    for value in item.list_at(&["parameters"]) {
        out.message(9, parameter(value));
    }
    out
}

fn operation(value: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &value["tags"]);
    out.text(3, &value["description"]);
    out.text(5, &value["operationId"]);
    out.texts(6, &value["produces"]);
    out.texts(7, &value["consumes"]);
    for item in value.list_at(&["parameters"]) {
        out.message(8, parameter(item));
    }
    let mut responses = Message::default();
    for (code, response) in members(&value["responses"]) {
        let mut content = Message::default();
        content.text(1, &response["description"]);
        if let Some(value) = response.get("schema") {
            let mut item = Message::default();
            item.message(1, schema(value));
            content.message(2, item);
        }
        let mut either = Message::default();
        either.message(1, content);
        responses.named(1, code, either);
    }
    out.message(9, responses);
    out.texts(10, &value["schemes"]);
    if let Some(map) = value.as_map() {
        out.extensions(13, map);
    }
    out
}

/// `ParametersItem`: a parameter of the body, the query or the path.
fn parameter(value: &Value) -> Message {
    let mut own = Message::default();
    let place = value["in"].as_str().unwrap_or("query");
    let mut kind = Message::default();
    if place == "body" {
        own.text(1, &value["description"]);
        own.text(2, &value["name"]);
        own.text(3, &value["in"]);
        own.flag(4, &value["required"]);
        if let Some(body) = value.get("schema") {
            own.message(5, schema(body));
        }
        kind.message(1, own);
    } else {
        own.flag(1, &value["required"]);
        own.text(2, &value["in"]);
        own.text(3, &value["description"]);
        own.text(4, &value["name"]);
        // A query has allow_empty_value before the type, which shifts the numbers.
        let shift = u32::from(place == "query");
        own.text(5 + shift, &value["type"]);
        own.flag(if place == "query" { 20 } else { 19 }, &value["uniqueItems"]);
        let mut spot = Message::default();
        // NonBodyParameter: header, form data, query, path.
        spot.message(if place == "query" { 3 } else { 4 }, own);
        kind.message(2, spot);
    }
    let mut out = Message::default();
    out.message(1, kind);
    out
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &value["$ref"]);
    out.text(2, &value["format"]);
    out.text(4, &value["description"]);
    if let Some(default) = value.get("default") {
        out.message(5, any(default));
    }
    out.texts(19, &value["required"]);
    if let Some(item) = value.get("additionalProperties") {
        let mut either = Message::default();
        either.message(1, schema(item));
        out.message(21, either);
    }
    if let Some(ty) = value["type"].as_str() {
        let mut item = Message::default();
        item.bytes(1, ty.as_bytes());
        out.message(22, item);
    }
    if let Some(items) = value.get("items") {
        let mut list = Message::default();
        list.message(1, schema(items));
        out.message(23, list);
    }
    if value.get("properties").is_some() {
        let mut properties = Message::default();
        for (name, property) in members(&value["properties"]) {
            properties.named(1, name, schema(property));
        }
        out.message(25, properties);
    }
    if let Some(map) = value.as_map() {
        out.extensions(31, map);
    }
    out
}
