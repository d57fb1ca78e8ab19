//! Reads the committed table into a [`Catalog`].
//!
//! The format is one fact a line, so that a new minor version is a reviewable diff. `#` starts a comment.
//!
//! | line | meaning |
//! |---|---|
//! | `minors OLDEST NEWEST` | the minor versions that the table can tell of |
//! | `package core/v1 io.k8s.api.core.v1 GROUP` | starts a package: short name, OpenAPI prefix, API group (`-` for core) |
//! | `type Pod WORDS` | starts a type; words: `kind` (has apiVersion and kind), `union`, `atomic`, `since=N` |
//! | two spaces, `NAME TYPE NUMBERS WORDS` | a field of the type above |
//! | `resource APIVERSION PLURAL SINGULAR KIND SCOPE VERBS WORDS` | a resource; words: `short=`, `categories=`, `prefix=`, `stored=`, `since=` |
//! | two spaces, `NAME APIVERSION KIND VERBS` | a sub-resource of the resource above (`-`: the version of the resource) |
//!
//! A field's type is a scalar's name, `[T` for a list, `{T` for a map, `@[T` for a list that protobuf wraps, or a type's
//! name: bare within its package, else `core/v1.Pod`. Its numbers are protobuf's, from the outermost embedded message
//! in, `-` for none. Words of a field: `ptr`, `keep` (Go writes it even when empty), `req`, `list=set`,
//! `list=map:KEY:KEY`, `atomic`, `granular`, `replace`, `merge`, `retainKeys`, `mergeKey=`, `since=`, and last `default=` with JSON.

use std::collections::HashMap;

use machinery::{Catalog, Field, FieldType, ListType, Resource, Subresource, TypeDef, TypeId};

/// Why a table cannot be read. Only a broken import makes one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("table line {line}: {what}")]
pub struct TableError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// A type as read, before references are resolved.
struct Draft {
    name: &'static str,
    api_version: Option<&'static str>,
    union: bool,
    atomic: bool,
    fields: Vec<Field>,
}

/// Reads the facts that hold in one minor version.
pub fn read(text: &'static str, minor: u32) -> Result<Catalog, TableError> {
    let ids = type_ids(text)?;
    let mut catalog = Catalog {
        minor,
        types: Vec::with_capacity(ids.by_short.len()),
        ..Catalog::default()
    };
    let mut reader = Reader {
        ids: &ids,
        package: "",
        prefix: "",
        group: "",
        draft: None,
        minor,
        skip: false,
    };
    for (at, line) in text.lines().enumerate() {
        reader
            .line(line, &mut catalog)
            .map_err(|what| TableError { line: at + 1, what })?;
    }
    reader.finish(&mut catalog);
    Ok(catalog)
}

/// The minor versions that a table can tell of.
pub fn minors(text: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let line = text.lines().find_map(|l| l.strip_prefix("minors "))?;
    let (oldest, newest) = line.split_once(' ')?;
    Some(oldest.parse().ok()?..=newest.parse().ok()?)
}

struct Ids {
    /// `(package, type)` to id, in order of appearance.
    by_short: HashMap<(&'static str, &'static str), TypeId>,
}

fn type_ids(text: &'static str) -> Result<Ids, TableError> {
    let mut by_short = HashMap::new();
    let mut package = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("package ") {
            package = rest.split(' ').next().unwrap_or("");
        } else if let Some(rest) = line.strip_prefix("type ") {
            let id = TypeId(by_short.len() as u32);
            by_short.insert((package, rest.split(' ').next().unwrap_or("")), id);
        }
    }
    Ok(Ids { by_short })
}

struct Reader<'a> {
    ids: &'a Ids,
    package: &'static str,
    prefix: &'static str,
    group: &'static str,
    draft: Option<Draft>,
    minor: u32,
    /// The resource above is not in this minor version.
    skip: bool,
}

impl Reader<'_> {
    fn line(&mut self, line: &'static str, catalog: &mut Catalog) -> Result<(), &'static str> {
        if let Some(rest) = line.strip_prefix("  ") {
            return match &self.draft {
                Some(_) => self.field(rest, catalog),
                None if self.skip => Ok(()),
                None => self.subresource(rest, catalog),
            };
        }
        let Some((word, rest)) = line.split_once(' ') else {
            return Err("no words");
        };
        match word {
            "#" | "minors" => Ok(()),
            "package" => {
                self.finish(catalog);
                let mut words = rest.split(' ');
                self.package = words.next().ok_or("no package")?;
                self.prefix = words.next().ok_or("no prefix")?;
                self.group = words.next().ok_or("no group")?;
                Ok(())
            }
            "type" => {
                self.finish(catalog);
                self.start(rest)
            }
            "resource" => {
                self.finish(catalog);
                self.resource(rest, catalog)
            }
            _ => Err("unknown line"),
        }
    }

    fn start(&mut self, rest: &'static str) -> Result<(), &'static str> {
        let mut words = rest.split(' ');
        let name = words.next().ok_or("no name")?;
        let mut draft = Draft {
            name: leak(format!("{}.{name}", self.prefix)),
            api_version: None,
            union: false,
            atomic: false,
            fields: Vec::new(),
        };
        let mut since = 0;
        for word in words {
            match word.split_once('=') {
                None if word == "kind" => draft.api_version = Some(self.api_version()),
                None if word == "union" => draft.union = true,
                None if word == "atomic" => draft.atomic = true,
                Some(("since", n)) => since = n.parse().map_err(|_| "bad since")?,
                _ => return Err("unknown word of a type"),
            }
        }
        if since > self.minor {
            draft.api_version = None;
        }
        self.draft = Some(draft);
        Ok(())
    }

    fn api_version(&self) -> &'static str {
        let version = self.package.rsplit('/').next().unwrap_or("");
        match self.group {
            "-" => version,
            group => leak(format!("{group}/{version}")),
        }
    }

    fn finish(&mut self, catalog: &mut Catalog) {
        let Some(draft) = self.draft.take() else { return };
        let id = TypeId(catalog.types.len() as u32);
        let mut ty = TypeDef::new(draft.name, draft.fields);
        (ty.api_version, ty.union, ty.atomic) = (draft.api_version, draft.union, draft.atomic);
        catalog.names.extend(ty.fields.iter().map(|f| f.name));
        catalog.by_name.insert(ty.name, id);
        if let Some(version) = ty.api_version {
            catalog.by_kind.insert((version, ty.go_name()), id);
        }
        catalog.types.push(ty);
    }

    fn field(&mut self, rest: &'static str, _catalog: &Catalog) -> Result<(), &'static str> {
        let (rest, default) = match rest.split_once(" default=") {
            Some((rest, json)) => (rest, Some(json)),
            None => (rest, None),
        };
        let mut words = rest.split(' ');
        let name = words.next().ok_or("no name")?;
        let ty = words.next().ok_or("no type")?;
        let numbers = words.next().ok_or("no numbers")?;
        let (wrapped, ty) = match ty.strip_prefix('@') {
            Some(ty) => (true, ty),
            None => (false, ty),
        };
        let mut field = Field::new(name, self.field_type(ty)?);
        (field.wrapped, field.default) = (wrapped, default);
        if numbers != "-" {
            for number in numbers.split('/') {
                field.embedded.push(number.parse().map_err(|_| "bad number")?);
            }
            field.number = field.embedded.pop();
        }
        for word in words {
            match word.split_once('=') {
                None if word == "ptr" => field.pointer = true,
                None if word == "keep" => field.omit_empty = false,
                None if word == "req" => field.required = true,
                None if word == "atomic" => field.atomic = true,
                None if word == "granular" => field.granular = true,
                None if word == "replace" => field.patch_replace = true,
                None if word == "merge" => field.patch_merge = true,
                None if word == "retainKeys" => field.patch_retain_keys = true,
                Some(("mergeKey", key)) => field.patch_merge_key = Some(key),
                Some(("since", n)) => field.since = n.parse().map_err(|_| "bad since")?,
                Some(("list", "set")) => field.list = ListType::Set,
                Some(("list", keys)) => {
                    field.list = ListType::Map;
                    field.map_keys = keys.strip_prefix("map:").ok_or("bad list")?.split(':').collect();
                }
                _ => return Err("unknown word of a field"),
            }
        }
        if field.since <= self.minor
            && let Some(draft) = &mut self.draft
        {
            draft.fields.push(field);
        }
        Ok(())
    }

    fn field_type(&self, text: &'static str) -> Result<FieldType, &'static str> {
        Ok(match text {
            "string" => FieldType::String,
            "bool" => FieldType::Bool,
            "int32" => FieldType::Int32,
            "int64" => FieldType::Int64,
            "float" => FieldType::Float,
            "bytes" => FieldType::Bytes,
            "time" => FieldType::Time,
            "microtime" => FieldType::MicroTime,
            "duration" => FieldType::Duration,
            "quantity" => FieldType::Quantity,
            "intorstring" => FieldType::IntOrString,
            "raw" => FieldType::RawExtension,
            "fieldsv1" => FieldType::FieldsV1,
            "json" => FieldType::Json,
            _ => {
                if let Some(item) = text.strip_prefix('[') {
                    return Ok(FieldType::List(Box::new(self.field_type(item)?)));
                }
                if let Some(item) = text.strip_prefix('{') {
                    let item = item.strip_prefix('@').unwrap_or(item);
                    return Ok(FieldType::Map(Box::new(self.field_type(item)?)));
                }
                let key = text.split_once('.').unwrap_or((self.package, text));
                FieldType::Object(*self.ids.by_short.get(&key).ok_or("no such type")?)
            }
        })
    }

    fn resource(&mut self, rest: &'static str, catalog: &mut Catalog) -> Result<(), &'static str> {
        let mut words = rest.split(' ');
        let mut next = || words.next().ok_or("too few words of a resource");
        let api_version = next()?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let (plural, singular, kind, scope, verbs) = (next()?, next()?, next()?, next()?, next()?);
        let since = words
            .clone()
            .find_map(|w| w.strip_prefix("since="))
            .map_or(Ok(0), str::parse);
        self.skip = since.map_err(|_| "bad since")? > self.minor;
        if self.skip {
            return Ok(());
        }
        let ty = *catalog
            .by_kind
            .get(&(api_version, kind))
            .ok_or("no type of a resource")?;
        let mut resource = Resource {
            group,
            version,
            kind,
            plural,
            singular,
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: scope == "namespaced",
            verbs: verbs.split(',').collect(),
            subresources: Vec::new(),
            ty,
            storage_prefix: plural,
            storage_version: api_version,
        };
        for word in words {
            match word.split_once('=') {
                Some(("short", list)) => resource.short_names = list.split(',').collect(),
                Some(("categories", list)) => resource.categories = list.split(',').collect(),
                Some(("prefix", prefix)) => resource.storage_prefix = prefix,
                Some(("stored", version)) => resource.storage_version = version,
                Some(("since", _)) => {}
                _ => return Err("unknown word of a resource"),
            }
        }
        catalog.resources.push(resource);
        Ok(())
    }

    fn subresource(&self, rest: &'static str, catalog: &mut Catalog) -> Result<(), &'static str> {
        let parent = catalog.resources.last_mut().ok_or("a sub-resource of nothing")?;
        let mut words = rest.split(' ');
        let mut next = || words.next().ok_or("too few words of a sub-resource");
        let (name, api_version, kind, verbs) = (next()?, next()?, next()?, next()?);
        let (group, version) = match api_version {
            "-" => ("", ""),
            v => v.split_once('/').unwrap_or(("", v)),
        };
        parent.subresources.push(Subresource {
            name,
            group,
            version,
            kind,
            verbs: verbs.split(',').collect(),
        });
        Ok(())
    }
}

/// Names live as long as the process: a catalog is made once for each minor version.
fn leak(name: String) -> &'static str {
    Box::leak(name.into_boxed_str())
}
