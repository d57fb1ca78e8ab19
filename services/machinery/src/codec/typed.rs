//! Untyped tree to canonical tree of a type: the one place that knows how a JSON value fits a field.

use std::borrow::Cow;

use super::scalar::{self, Moment};
use super::{DecodeError, MAX_DEPTH, MAX_PROBLEMS};
use crate::{Catalog, Field, FieldType, Key, Map, TypeDef, TypeId, Value, quantity};

/// Converts; one for each object, so that scratch memory is reused within it.
pub(crate) struct Converter<'c> {
    catalog: &'c Catalog,
    strict: bool,
    /// Unknown fields, if they are wanted.
    pub(crate) problems: Vec<String>,
    /// Field values of the objects being built, each object's on top of its parent's.
    slots: Slots,
    depth: usize,
}

/// Where a value stands, as a list from the inside out on the stack.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl Path<'_> {
    fn show(&self, out: &mut String) {
        match self {
            Self::Root => {}
            Self::Key(parent, key) => {
                parent.show(out);
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Self::Item(parent, at) => {
                parent.show(out);
                out.push_str(&format!("[{at}]"));
            }
        }
    }
}

/// A value of the wrong type, with what Go tells of it.
struct Mismatch {
    /// What came: `string`, `number 1.5`, …
    found: String,
    /// The Go type it should be.
    wanted: String,
    /// The struct nearest to it.
    owner: Option<&'static str>,
    /// Field names from the inside out.
    path: Vec<Key>,
    /// A finished message, for types that decode themselves.
    own: Option<String>,
}

type Outcome<T> = Result<T, Box<Mismatch>>;

impl Mismatch {
    fn into_error(self) -> DecodeError {
        if let Some(own) = self.own {
            return DecodeError::Type(own);
        }
        let (found, wanted) = (self.found, self.wanted);
        DecodeError::Type(match self.owner {
            None => format!("json: cannot unmarshal {found} into Go value of type {wanted}"),
            Some(owner) => {
                let path: Vec<&str> = self.path.iter().rev().map(|k| &**k).collect();
                let path = path.join(".");
                format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}")
            }
        })
    }
}

impl<'c> Converter<'c> {
    pub(crate) fn new(catalog: &'c Catalog, strict: bool) -> Self {
        Self {
            catalog,
            strict,
            problems: Vec::new(),
            slots: Slots::default(),
            depth: 0,
        }
    }

    pub(crate) fn root(&mut self, ty: TypeId, value: Value) -> Result<Value, DecodeError> {
        let wanted = FieldType::Object(ty);
        if value.is_null() {
            return Ok(zero(self.catalog, &wanted));
        }
        self.value(&wanted, value, &Path::Root)
            .map_err(|m| m.into_error())
    }

    fn mismatch(&self, value: &Value, ty: &FieldType) -> Box<Mismatch> {
        let found = match value {
            Value::Null => "null".into(),
            Value::Bool(_) => "bool".into(),
            Value::Int(n) if is_number(ty) => format!("number {n}"),
            Value::Float(f) if is_number(ty) => {
                format!("number {}", super::json::to_string(&Value::Float(*f)))
            }
            Value::Int(_) | Value::Float(_) => "number".into(),
            Value::Str(_) => "string".into(),
            Value::List(_) => "array".into(),
            Value::Map(_) => "object".into(),
        };
        Box::new(Mismatch {
            found,
            wanted: go_type(self.catalog, ty),
            owner: None,
            path: Vec::new(),
            own: None,
        })
    }

    fn value(&mut self, ty: &FieldType, value: Value, path: &Path<'_>) -> Outcome<Value> {
        match (ty, value) {
            (_, Value::Null) => Ok(zero(self.catalog, ty)),
            (FieldType::String, v @ Value::Str(_))
            | (FieldType::Bool, v @ Value::Bool(_))
            | (FieldType::Int64, v @ Value::Int(_))
            | (FieldType::Float, v @ Value::Float(_))
            | (FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Json, v) => Ok(v),
            (FieldType::Int32, Value::Int(n)) if i32::try_from(n).is_ok() => Ok(Value::Int(n)),
            (FieldType::Float, Value::Int(n)) => Ok(Value::Float(n as f64)),
            (FieldType::Object(id), value) => self.object_or_union(*id, value, path),
            (FieldType::List(item), Value::List(list)) => self.nested(|this| this.list(item, list, path)),
            (FieldType::Map(item), Value::Map(map)) => self.nested(|this| this.map(item, map, path)),
            (FieldType::Bytes, Value::Str(s)) => match scalar::check_base64(s) {
                Ok(s) => Ok(Value::Str(s)),
                Err(at) => Err(own(format!("illegal base64 data at input byte {at}"))),
            },
            (FieldType::Time, Value::Str(s)) => time(s, false),
            (FieldType::MicroTime, Value::Str(s)) => time(s, true),
            (FieldType::Duration, Value::Str(s)) => match scalar::parse_duration(&s) {
                Some(nanos) => Ok(Value::Str(scalar::duration_text(nanos).into())),
                None => Err(own(format!(
                    "time: invalid duration {}",
                    crate::quote::go_quote(&s)
                ))),
            },
            (FieldType::Quantity, Value::Str(s)) => canonical_quantity(s),
            (FieldType::Quantity, Value::Int(n)) => canonical_quantity(n.to_string().into()),
            (FieldType::Quantity, v @ Value::Float(_)) => {
                canonical_quantity(super::json::to_string(&v).into())
            }
            (FieldType::IntOrString, v @ Value::Str(_)) => Ok(v),
            (FieldType::IntOrString, Value::Int(n)) if i32::try_from(n).is_ok() => Ok(Value::Int(n)),
            (_, value) => Err(self.mismatch(&value, ty)),
        }
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(own("exceeded max depth".into()));
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self, item: &FieldType, mut list: Vec<Value>, path: &Path<'_>) -> Outcome<Value> {
        for (at, slot) in list.iter_mut().enumerate() {
            *slot = self.value(item, slot.take(), &Path::Item(path, at))?;
        }
        Ok(Value::List(list))
    }

    fn map(&mut self, item: &FieldType, mut map: Map, path: &Path<'_>) -> Outcome<Value> {
        for (key, slot) in map.iter_mut() {
            let value = slot.take();
            match self.value(item, value, &Path::Key(path, key)) {
                Ok(value) => *slot = value,
                Err(mut mismatch) => {
                    mismatch.path.push(Cow::Owned(key.into()));
                    return Err(mismatch);
                }
            }
        }
        map.sort_unique();
        Ok(Value::Map(map))
    }

    fn object_or_union(&mut self, id: TypeId, value: Value, path: &Path<'_>) -> Outcome<Value> {
        let catalog: &'c Catalog = self.catalog;
        let ty = catalog.ty(id);
        match value {
            Value::Map(map) if !ty.union => self.nested(|this| this.object(ty, map, path)),
            value if ty.union => {
                let fits = |f: &&Field| {
                    matches!(
                        (&f.ty, &value),
                        (FieldType::Object(_), Value::Map(_))
                            | (FieldType::Bool, Value::Bool(_))
                            | (FieldType::List(_), Value::List(_))
                    )
                };
                match ty.fields.iter().find(fits) {
                    Some(field) => self.value(&field.ty, value, path),
                    None => Err(self.mismatch(&value, &FieldType::Object(id))),
                }
            }
            value => Err(self.mismatch(&value, &FieldType::Object(id))),
        }
    }

    fn object(&mut self, ty: &'c TypeDef, map: Map, path: &Path<'_>) -> Outcome<Value> {
        let base = self.slots.open(ty);
        let mut extra = Vec::new();
        for (key, value) in map {
            match ty.position(&key) {
                Some(at) if value.is_null() => self.slots.values[base + at] = Value::Null,
                Some(at) => {
                    let field = &ty.fields[at];
                    match self.value(&field.ty, value, &Path::Key(path, field.name)) {
                        Ok(value) => self.slots.values[base + at] = value,
                        Err(mut mismatch) => {
                            mismatch.owner.get_or_insert(ty.go_name());
                            mismatch.path.push(Cow::Borrowed(field.name));
                            return Err(mismatch);
                        }
                    }
                }
                None if ty.preserve_unknown => extra.push((key, value)),
                None if self.strict && self.problems.len() < MAX_PROBLEMS => {
                    let mut shown = String::new();
                    Path::Key(path, &key).show(&mut shown);
                    self.problems.push(format!("unknown field \"{shown}\""));
                }
                None => {}
            }
        }
        Ok(Value::Map(self.slots.close(self.catalog, ty, base, extra)))
    }
}

fn own(message: String) -> Box<Mismatch> {
    let (found, wanted) = (String::new(), String::new());
    Box::new(Mismatch {
        found,
        wanted,
        owner: None,
        path: Vec::new(),
        own: Some(message),
    })
}

fn time(text: Cow<'static, str>, micro: bool) -> Outcome<Value> {
    let shortest = if micro { 27 } else { 20 };
    match Moment::parse(&text) {
        Some(moment) if moment.is_zero() => Ok(Value::Null),
        // What parses, has this length and ends in Z is canonical already.
        Some(_) if text.len() == shortest && text.ends_with('Z') => Ok(Value::Str(text)),
        Some(moment) => Ok(Value::Str(moment.text(micro).into())),
        None => {
            let layout = if micro {
                "2006-01-02T15:04:05.000000Z07:00"
            } else {
                "2006-01-02T15:04:05Z07:00"
            };
            let shown = crate::quote::go_quote(&text);
            Err(own(format!(
                "parsing time {shown} as \"{layout}\": cannot parse {shown} as \"2006\""
            )))
        }
    }
}

fn canonical_quantity(text: Cow<'static, str>) -> Outcome<Value> {
    match quantity::canonical(&text) {
        Ok(Cow::Borrowed(same)) if same.len() == text.len() => Ok(Value::Str(text)),
        Ok(other) => Ok(Value::Str(other.into_owned().into())),
        Err(e) => Err(own(e.to_string())),
    }
}

fn is_number(ty: &FieldType) -> bool {
    matches!(
        ty,
        FieldType::Int32 | FieldType::Int64 | FieldType::Float | FieldType::IntOrString
    )
}

/// A type as Go prints it.
fn go_type(catalog: &Catalog, ty: &FieldType) -> String {
    match ty {
        FieldType::String | FieldType::Time | FieldType::MicroTime | FieldType::Duration => "string".into(),
        FieldType::Quantity => "string".into(),
        FieldType::Bool => "bool".into(),
        FieldType::Int32 | FieldType::IntOrString => "int32".into(),
        FieldType::Int64 => "int64".into(),
        FieldType::Float => "float64".into(),
        FieldType::Bytes => "[]uint8".into(),
        FieldType::RawExtension => "runtime.RawExtension".into(),
        FieldType::FieldsV1 => "v1.FieldsV1".into(),
        FieldType::Json => "v1.JSON".into(),
        FieldType::Object(id) => catalog.ty(*id).go_type().into(),
        FieldType::List(item) => format!("[]{}", go_type(catalog, item)),
        FieldType::Map(item) => format!("map[string]{}", go_type(catalog, item)),
    }
}

/// What Go writes for a value that was never set, and that is no pointer.
pub(crate) fn zero(catalog: &Catalog, ty: &FieldType) -> Value {
    match ty {
        FieldType::String | FieldType::Bytes => Value::Str(Cow::Borrowed("")),
        FieldType::Bool => Value::Bool(false),
        FieldType::Int32 | FieldType::Int64 | FieldType::IntOrString => Value::Int(0),
        FieldType::Float => Value::Float(0.0),
        FieldType::Duration => Value::Str(Cow::Borrowed("0s")),
        FieldType::Quantity => Value::Str(Cow::Borrowed("0")),
        FieldType::Object(id) => {
            let ty = catalog.ty(*id);
            if ty.union {
                return Value::Bool(false);
            }
            let mut map = Map::new();
            for field in ty.fields.iter().filter(|f| !f.omit_empty) {
                map.push_new(field.name, absent(catalog, field));
            }
            Value::Map(map)
        }
        _ => Value::Null,
    }
}

/// What Go writes for a field that is not set and not left out.
pub(crate) fn absent(catalog: &Catalog, field: &Field) -> Value {
    match field.ty {
        _ if field.pointer => Value::Null,
        FieldType::Bytes => Value::Null,
        _ => zero(catalog, &field.ty),
    }
}

/// Field values of the objects that are being built: one stack for all of them.
#[derive(Default)]
pub(crate) struct Slots {
    pub(crate) values: Vec<Value>,
}

impl Slots {
    /// Makes room for an object; its field `i` is at the returned position plus `i`. Null is not set.
    pub(crate) fn open(&mut self, ty: &TypeDef) -> usize {
        let base = self.values.len();
        self.values
            .extend(std::iter::repeat_with(|| Value::Null).take(ty.fields.len()));
        base
    }

    /// Takes the object's fields as a canonical map, with `extra` behind them.
    pub(crate) fn close(
        &mut self,
        catalog: &Catalog,
        ty: &TypeDef,
        base: usize,
        extra: Vec<(Key, Value)>,
    ) -> Map {
        let set = self.values[base..]
            .iter()
            .zip(&ty.fields)
            .filter(|(v, f)| !v.is_null() || !f.omit_empty);
        let mut map = Map::with_capacity(set.count() + extra.len());
        for (value, field) in self.values.drain(base..).zip(&ty.fields) {
            if value.is_null() {
                if !field.omit_empty {
                    map.push_new(field.name, absent(catalog, field));
                }
            } else if !field.omit_empty || field.pointer || !left_out(catalog, &value, &field.ty) {
                map.push_new(field.name, value);
            }
        }
        for (key, value) in extra {
            map.push_new(key, value);
        }
        map
    }
}

/// Whether Go leaves a value out of JSON where `omitempty` or, for a struct, `omitzero` asks for it.
pub(crate) fn left_out(catalog: &Catalog, value: &Value, ty: &FieldType) -> bool {
    match (ty, value) {
        (FieldType::Object(id), Value::Map(map)) if !catalog.ty(*id).union => {
            let ty = catalog.ty(*id);
            // A zero struct shows what is never left out, at its zero. Whatever else it shows is set: a pointer to zero and a
            // map with empty values, too.
            map.iter().all(|(name, value)| {
                let field = ty.position(name).map(|at| &ty.fields[at]);
                field.is_some_and(|field| !field.omit_empty && *value == absent(catalog, field))
            })
        }
        (FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Json, _) => false,
        (_, value) => value.is_zero(),
    }
}
