//! Tree to message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::json;
use super::super::scalar::{self, Moment};
use super::envelope;
use super::wire::{FIXED64, VARINT, put_bytes, put_int, put_message, put_tag, put_varint};
use crate::schema::{Wire, WireStep};
use crate::{Catalog, Field, FieldType, TypeDef, TypeId, Value};

/// A value that does not fit its field. Decoders never make one: a rule put it there.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{ty}.{field} cannot hold a value of type {found}")]
pub struct EncodeError {
    /// The object type.
    pub ty: &'static str,
    /// The field.
    pub field: &'static str,
    /// What stood there.
    pub found: &'static str,
}

/// An object in its envelope: what is stored and sent.
///
/// # Errors
/// [`EncodeError`] if a value does not fit its field.
pub fn encode(
    value: &Value,
    catalog: &Catalog,
    ty: TypeId,
    api_version: &str,
    kind: &str,
) -> Result<Vec<u8>, EncodeError> {
    envelope::wrap(api_version, kind, |out| {
        Encoder {
            catalog,
            seen: Vec::new(),
        }
        .object(catalog.ty(ty), value, out)
    })
}

/// Appends an object as a bare message.
///
/// # Errors
/// As [`encode`].
pub fn encode_message(
    value: &Value,
    catalog: &Catalog,
    ty: TypeId,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    Encoder {
        catalog,
        seen: Vec::new(),
    }
    .object(catalog.ty(ty), value, out)
}

struct Encoder<'a> {
    catalog: &'a Catalog,
    /// Values by field of the objects being written, each object's on top of its parent's.
    seen: Vec<Option<&'a Value>>,
}

impl<'a> Encoder<'a> {
    fn object(&mut self, ty: &'a TypeDef, value: &'a Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if ty.union {
            return self.union(ty, value, out);
        }
        let base = self.seen.len();
        self.seen.resize(base + ty.fields.len(), None);
        match value {
            Value::Map(map) => {
                for (key, value) in map.iter() {
                    if let Some(at) = ty.position(key)
                        && !value.is_null()
                    {
                        self.seen[base + at] = Some(value);
                    }
                }
            }
            Value::Null => {}
            other => {
                return Err(EncodeError {
                    ty: ty.name,
                    field: "",
                    found: other.type_name(),
                });
            }
        }
        self.wires(ty, ty.wire(), base, out)?;
        self.seen.truncate(base);
        Ok(())
    }

    fn wires(
        &mut self,
        ty: &'a TypeDef,
        wires: &'a [Wire],
        base: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        for wire in wires {
            match &wire.step {
                WireStep::Nested(inner) => {
                    put_message(out, wire.number, |out| self.wires(ty, inner, base, out))?;
                }
                WireStep::Field(at) => {
                    let field = &ty.fields[*at];
                    match self.seen[base + at] {
                        Some(value) => self.field(ty, field, wire.number, value, out)?,
                        None => self.absent(field, wire.number, out)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// A field that is not set: nothing for a pointer, list, map or bytes, else its zero.
    fn absent(&mut self, field: &'a Field, number: u32, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if !field.pointer {
            zero(self.catalog, &field.ty, number, out);
        }
        Ok(())
    }

    fn field(
        &mut self,
        ty: &'a TypeDef,
        field: &'a Field,
        number: u32,
        value: &'a Value,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let wrong = |found: &Value| EncodeError {
            ty: ty.name,
            field: field.name,
            found: found.type_name(),
        };
        match (&field.ty, value) {
            (FieldType::List(item), Value::List(list)) if field.wrapped => put_message(out, number, |out| {
                list.iter()
                    .try_for_each(|value| self.one(item, 1, value, out).map_err(|_| wrong(value)))
            }),
            (FieldType::List(item), Value::List(list)) => {
                for value in list {
                    match self.one(item, number, value, out) {
                        Ok(()) => {}
                        Err(Failure::Here) => return Err(wrong(value)),
                        Err(Failure::Inside(e)) => return Err(e),
                    }
                }
                Ok(())
            }
            (FieldType::Map(item), Value::Map(map)) => {
                let mut entries: Vec<(&str, &'a Value)> = map.iter().collect();
                if !entries.is_sorted_by(|a, b| a.0 < b.0) {
                    entries.sort_by(|a, b| a.0.cmp(b.0));
                }
                for (key, value) in entries {
                    let written = put_message(out, number, |out| {
                        put_bytes(out, 1, key.as_bytes());
                        match (&**item, value) {
                            // Go leaves empty bytes of a map's entry out.
                            (FieldType::Bytes, Value::Str(s)) if s.is_empty() => Ok(()),
                            (FieldType::List(item), Value::List(list)) => put_message(out, 2, |out| {
                                list.iter().try_for_each(|value| self.one(item, 1, value, out))
                            }),
                            (FieldType::List(_), Value::Null) => put_message(out, 2, |_| Ok(())),
                            (item, value) => self.one(item, 2, value, out),
                        }
                    });
                    match written {
                        Ok(()) => {}
                        Err(Failure::Here) => return Err(wrong(value)),
                        Err(Failure::Inside(e)) => return Err(e),
                    }
                }
                Ok(())
            }
            (FieldType::List(_) | FieldType::Map(_), other) => Err(wrong(other)),
            (single, value) => self
                .one(single, number, value, out)
                .map_err(|failure| match failure {
                    Failure::Here => wrong(value),
                    Failure::Inside(e) => e,
                }),
        }
    }

    /// One value that is neither list nor map.
    fn one(
        &mut self,
        ty: &'a FieldType,
        number: u32,
        value: &'a Value,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match (ty, value) {
            (FieldType::String, Value::Str(s)) => put_bytes(out, number, s.as_bytes()),
            (FieldType::Bool, Value::Bool(b)) => put_int(out, number, i64::from(*b)),
            (FieldType::Int32 | FieldType::Int64, Value::Int(n)) => put_int(out, number, *n),
            (FieldType::Float, Value::Float(f)) => put_float(out, number, *f),
            (FieldType::Float, Value::Int(n)) => put_float(out, number, *n as f64),
            (FieldType::Bytes, Value::Str(s)) => {
                put_bytes(out, number, &STANDARD.decode(&**s).map_err(|_| Failure::Here)?);
            }
            (FieldType::Time, Value::Str(s)) => put_time(out, number, s, false)?,
            (FieldType::MicroTime, Value::Str(s)) => put_time(out, number, s, true)?,
            (FieldType::Duration, Value::Str(s)) => {
                let nanos = scalar::parse_duration(s).ok_or(Failure::Here)?;
                put_message(out, number, |out| {
                    put_int(out, 1, nanos);
                    Ok::<(), Failure>(())
                })?;
            }
            (FieldType::Quantity, Value::Str(s)) => put_message(out, number, |out| {
                put_bytes(out, 1, s.as_bytes());
                Ok::<(), Failure>(())
            })?,
            (FieldType::IntOrString, value @ (Value::Int(_) | Value::Str(_))) => {
                put_message(out, number, |out| {
                    put_int_or_string(out, value);
                    Ok::<(), Failure>(())
                })?;
            }
            (FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Json, value) => {
                put_message(out, number, |out| {
                    put_message(out, 1, |out| {
                        json::write(value, out);
                        Ok::<(), Failure>(())
                    })
                })?;
            }
            (FieldType::Object(id), value) => {
                let ty = self.catalog.ty(*id);
                put_message(out, number, |out| self.object(ty, value, out)).map_err(Failure::Inside)?;
            }
            (ty, Value::Null) => zero(self.catalog, ty, number, out),
            _ => return Err(Failure::Here),
        }
        Ok(())
    }

    /// A value that JSON shows without the object around it (`JSONSchemaPropsOrBool` and its kin): booleans and lists
    /// are in their own fields, an object also sets the boolean.
    fn union(&mut self, ty: &'a TypeDef, value: &'a Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        for wire in ty.wire() {
            let WireStep::Field(at) = wire.step else { continue };
            let field = &ty.fields[at];
            match (&field.ty, value) {
                (FieldType::Bool, Value::Bool(b)) => put_int(out, wire.number, i64::from(*b)),
                (FieldType::Bool, other) => {
                    put_int(out, wire.number, i64::from(matches!(other, Value::Map(_))))
                }
                (FieldType::Object(_), Value::Map(_)) | (FieldType::List(_), Value::List(_)) => {
                    self.field(ty, field, wire.number, value, out)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where a value did not fit.
enum Failure {
    /// At the value itself.
    Here,
    /// Deeper.
    Inside(EncodeError),
}

fn put_float(out: &mut Vec<u8>, number: u32, f: f64) {
    put_tag(out, number, FIXED64);
    out.extend_from_slice(&f.to_le_bytes());
}

fn put_time(out: &mut Vec<u8>, number: u32, text: &str, micro: bool) -> Result<(), Failure> {
    let moment = Moment::parse(text).ok_or(Failure::Here)?;
    put_message(out, number, |out| {
        put_int(out, 1, moment.seconds);
        put_int(
            out,
            2,
            if micro {
                i64::from(moment.nanos / 1000 * 1000)
            } else {
                0
            },
        );
        Ok(())
    })
}

fn put_int_or_string(out: &mut Vec<u8>, value: &Value) {
    let (kind, n, s) = match value {
        Value::Str(s) => (1, 0, &**s),
        Value::Int(n) => (0, *n, ""),
        _ => (0, 0, ""),
    };
    put_int(out, 1, kind);
    put_int(out, 2, n);
    put_bytes(out, 3, s.as_bytes());
}

/// Writes the zero of a type that is no pointer.
fn zero(catalog: &Catalog, ty: &FieldType, number: u32, out: &mut Vec<u8>) {
    let mut message = |write: &dyn Fn(&mut Vec<u8>)| {
        let written: Result<(), std::convert::Infallible> = put_message(out, number, |out| {
            write(out);
            Ok(())
        });
        match written {
            Ok(()) => {}
            Err(never) => match never {},
        }
    };
    match ty {
        FieldType::List(_) | FieldType::Map(_) | FieldType::Bytes => {}
        FieldType::Time | FieldType::MicroTime => message(&|_| {}),
        FieldType::RawExtension | FieldType::FieldsV1 | FieldType::Json => message(&|_| {}),
        FieldType::Duration => message(&|out| put_int(out, 1, 0)),
        FieldType::Quantity => message(&|out| put_bytes(out, 1, b"0")),
        FieldType::IntOrString => message(&|out| put_int_or_string(out, &Value::Null)),
        FieldType::Object(id) => {
            message(&|out| zero_object(catalog, catalog.ty(*id), catalog.ty(*id).wire(), out))
        }
        FieldType::String => put_bytes(out, number, b""),
        FieldType::Bool | FieldType::Int32 | FieldType::Int64 => {
            put_tag(out, number, VARINT);
            put_varint(out, 0);
        }
        FieldType::Float => put_float(out, number, 0.0),
    }
}

fn zero_object(catalog: &Catalog, ty: &TypeDef, wires: &[Wire], out: &mut Vec<u8>) {
    for wire in wires {
        match &wire.step {
            WireStep::Field(at) if ty.fields[*at].pointer => {}
            WireStep::Field(at) => zero(catalog, &ty.fields[*at].ty, wire.number, out),
            WireStep::Nested(inner) => {
                let written: Result<(), std::convert::Infallible> = put_message(out, wire.number, |out| {
                    zero_object(catalog, ty, inner, out);
                    Ok(())
                });
                match written {
                    Ok(()) => {}
                    Err(never) => match never {},
                }
            }
        }
    }
}
