//! Message to canonical tree.
//!
//! Fields that the table does not know are skipped: what a newer server wrote loses them.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::scalar::{self, Moment};
use super::super::typed::{self, Slots};
use super::super::{DecodeError, MAX_DEPTH, json};
use super::envelope;
use super::wire::{Item, Reader};
use crate::schema::{Wire, WireStep};
use crate::{Catalog, FieldType, TypeDef, TypeId, Value, quantity};

/// Decodes an enveloped object of any kind of the catalog; `apiVersion` and `kind` are set in it.
///
/// # Errors
/// [`DecodeError::NoKind`] if the catalog has no such kind, [`DecodeError::Proto`] if the bytes are broken.
pub fn decode(bytes: &[u8], catalog: &Catalog) -> Result<(TypeId, Value), DecodeError> {
    let envelope = envelope::open(bytes)?;
    let ty = envelope.type_in(catalog)?;
    let def = catalog.ty(ty);
    let text = |known: &'static str, text: &str| -> Value {
        Value::Str(if known == text {
            Cow::Borrowed(known)
        } else {
            Cow::Owned(text.into())
        })
    };
    let api_version = text(def.api_version.unwrap_or(""), envelope.api_version);
    let kind = text(def.go_name(), envelope.kind);
    let value = Decoder::new(catalog).object(def, envelope.raw, Some((api_version, kind)))?;
    Ok((ty, value))
}

/// Decodes a bare message.
///
/// # Errors
/// [`DecodeError::Proto`] if the bytes are broken.
pub fn decode_message(bytes: &[u8], catalog: &Catalog, ty: TypeId) -> Result<Value, DecodeError> {
    Decoder::new(catalog).object(catalog.ty(ty), bytes, None)
}

pub(super) struct Decoder<'c> {
    catalog: &'c Catalog,
    slots: Slots,
    depth: usize,
}

impl<'c> Decoder<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Self {
        Self {
            catalog,
            slots: Slots::default(),
            depth: 0,
        }
    }

    /// One value of an object that stands this deep.
    pub(super) fn value_at(
        &mut self,
        depth: usize,
        ty: &'c FieldType,
        item: Item<'_>,
    ) -> Result<Value, DecodeError> {
        self.depth = depth;
        self.one(ty, item)
    }

    fn object(
        &mut self,
        ty: &'c TypeDef,
        bytes: &[u8],
        version_kind: Option<(Value, Value)>,
    ) -> Result<Value, DecodeError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::Limit("exceeded max depth"));
        }
        let base = self.slots.open(ty);
        if let Some((version, kind)) = version_kind {
            for (name, value) in [("apiVersion", version), ("kind", kind)] {
                if let Some(at) = ty.position(name) {
                    self.slots.values[base + at] = value;
                }
            }
        }
        self.message(ty, ty.wire(), bytes, base)?;
        for (slot, field) in self.slots.values[base..].iter_mut().zip(&ty.fields) {
            if let (FieldType::Map(_), Value::Map(map)) = (&field.ty, slot) {
                map.sort_unique();
            }
        }
        self.depth -= 1;
        if ty.union {
            return Ok(self.union(ty, base));
        }
        Ok(Value::Map(self.slots.close(self.catalog, ty, base, Vec::new())))
    }

    fn union(&mut self, ty: &TypeDef, base: usize) -> Value {
        let mut out = Value::Null;
        for (value, field) in self.slots.values.drain(base..).zip(&ty.fields) {
            match (&field.ty, &value) {
                (FieldType::Object(_), Value::Map(_)) | (FieldType::List(_), Value::List(_)) => {
                    return_first(&mut out, value)
                }
                (FieldType::Bool, _) if out.is_null() => out = Value::Bool(value.as_bool().unwrap_or(false)),
                _ => {}
            }
        }
        out
    }

    fn message(
        &mut self,
        ty: &'c TypeDef,
        wires: &'c [Wire],
        bytes: &[u8],
        base: usize,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        // Fields mostly come by ascending number, so the search starts where the last one ended.
        let mut cursor = 0;
        while let Some((number, item)) = reader.next()? {
            let found = match wires.get(cursor) {
                Some(wire) if wire.number == number => Ok(cursor),
                _ => wires.binary_search_by_key(&number, |w| w.number),
            };
            let Ok(at) = found else { continue };
            cursor = at;
            match &wires[at].step {
                WireStep::Nested(inner) => {
                    self.message(ty, inner, item.bytes()?, base)?;
                    cursor += 1;
                }
                WireStep::Field(field) => {
                    let (at, field) = (base + field, &ty.fields[*field]);
                    match &field.ty {
                        FieldType::List(inner) if field.wrapped => {
                            let list = self.items(inner, item.bytes()?)?;
                            self.slots.values[at] = list;
                        }
                        FieldType::List(inner) => self.push(inner, item, at)?,
                        FieldType::Map(inner) => {
                            let (key, value) = self.entry(inner, item.bytes()?)?;
                            let slot = &mut self.slots.values[at];
                            if slot.is_null() {
                                *slot = Value::map();
                            }
                            if let Value::Map(map) = slot {
                                map.push_new(key, value);
                            }
                        }
                        single => {
                            self.slots.values[at] = self.one(single, item)?;
                            cursor += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, ty: &'c FieldType, item: Item<'_>, at: usize) -> Result<(), DecodeError> {
        let mut values = Vec::new();
        match (ty, item) {
            // A packed list of numbers: Go does not write it, other clients may.
            (FieldType::Int32 | FieldType::Int64 | FieldType::Bool, Item::Bytes(bytes)) => {
                let mut reader = Reader::new(bytes);
                while !reader.rest.is_empty() {
                    values.push(self.one(ty, Item::Varint(reader.varint()?))?);
                }
            }
            (ty, item) => {
                let value = self.one(ty, item)?;
                match &mut self.slots.values[at] {
                    Value::List(list) => list.push(value),
                    slot => *slot = Value::List(vec![value]),
                }
                return Ok(());
            }
        }
        match &mut self.slots.values[at] {
            Value::List(list) => list.append(&mut values),
            slot => *slot = Value::List(values),
        }
        Ok(())
    }

    /// The `items` of a wrapped list.
    fn items(&mut self, ty: &'c FieldType, bytes: &[u8]) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut list = Vec::new();
        while let Some((number, item)) = reader.next()? {
            if number == 1 {
                list.push(self.one(ty, item)?);
            }
        }
        Ok(Value::List(list))
    }

    fn entry(&mut self, ty: &'c FieldType, bytes: &[u8]) -> Result<(String, Value), DecodeError> {
        let mut reader = Reader::new(bytes);
        let (mut key, mut value) = (String::new(), None);
        while let Some((number, item)) = reader.next()? {
            match number {
                1 => key = item.str()?.to_owned(),
                2 => {
                    value = Some(match ty {
                        FieldType::List(inner) => self.items(inner, item.bytes()?)?,
                        ty => self.one(ty, item)?,
                    });
                }
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| typed::zero(self.catalog, ty))))
    }

    fn one(&mut self, ty: &'c FieldType, item: Item<'_>) -> Result<Value, DecodeError> {
        Ok(match ty {
            FieldType::String => Value::Str(text(item.str()?)),
            FieldType::Bool => Value::Bool(item.int()? != 0),
            FieldType::Int32 => Value::Int(i64::from(item.int()? as i32)),
            FieldType::Int64 => Value::Int(item.int()? as i64),
            FieldType::Float => match item {
                Item::Fixed64(n) => Value::Float(f64::from_bits(n)),
                Item::Fixed32(n) => Value::Float(f32::from_bits(n).into()),
                _ => return Err(DecodeError::Proto("wrong wire type")),
            },
            FieldType::Bytes => Value::Str(STANDARD.encode(item.bytes()?).into()),
            FieldType::Time | FieldType::MicroTime => {
                match moment(item.bytes()?, matches!(ty, FieldType::MicroTime))? {
                    Some(text) => Value::Str(text.into()),
                    None => Value::Null,
                }
            }
            FieldType::Duration => {
                let nanos = Reader::new(item.bytes()?)
                    .find(1)?
                    .map_or(Ok(0), |item| item.int())?;
                Value::Str(scalar::duration_text(nanos as i64).into())
            }
            FieldType::Quantity => {
                let text = Reader::new(item.bytes()?)
                    .find(1)?
                    .map_or(Ok(""), |item| item.str())?;
                let text = if text.is_empty() { "0" } else { text };
                let canonical =
                    quantity::canonical(text).map_err(|_| DecodeError::Proto("not a quantity"))?;
                Value::Str(canonical.into_owned().into())
            }
            FieldType::IntOrString => {
                let reader = Reader::new(item.bytes()?);
                match reader.find(1)?.map_or(Ok(0), |item| item.int())? {
                    1 => Value::Str(text(reader.find(3)?.map_or(Ok(""), |item| item.str())?)),
                    _ => Value::Int(i64::from(reader.find(2)?.map_or(Ok(0), |item| item.int())? as i32)),
                }
            }
            FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Json => {
                match Reader::new(item.bytes()?).find(1)? {
                    None => Value::Null,
                    Some(raw) => match raw.bytes()? {
                        [] => Value::Null,
                        raw if raw.starts_with(envelope::MAGIC) => decode(raw, self.catalog)?.1,
                        raw => json::parse(raw)?,
                    },
                }
            }
            FieldType::Object(id) => {
                let catalog: &'c Catalog = self.catalog;
                self.object(catalog.ty(*id), item.bytes()?, None)?
            }
            FieldType::List(_) | FieldType::Map(_) => return Err(DecodeError::Proto("a list in a list")),
        })
    }
}

fn return_first(out: &mut Value, value: Value) {
    if !matches!(out, Value::Map(_) | Value::List(_)) {
        *out = value;
    }
}

fn text(s: &str) -> Cow<'static, str> {
    if s.is_empty() {
        Cow::Borrowed("")
    } else {
        Cow::Owned(s.to_owned())
    }
}

/// The text of a time; `None` is the zero time, which JSON shows as null.
pub(super) fn moment(bytes: &[u8], micro: bool) -> Result<Option<String>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let reader = Reader::new(bytes);
    let seconds = reader.find(1)?.map_or(Ok(0), |item| item.int())? as i64;
    let nanos = reader.find(2)?.map_or(Ok(0), |item| item.int())? as i32;
    // The years 1 to 9999, as upstream's JSON.
    if !(-62_135_596_800..=253_402_300_799).contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(DecodeError::Proto("time out of range"));
    }
    let moment = Moment { seconds, nanos };
    Ok((!moment.is_zero()).then(|| moment.text(micro)))
}
