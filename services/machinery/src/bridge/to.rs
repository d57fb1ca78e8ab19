//! serde's writing half.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::BridgeError;
use crate::{Key, Map, Value};

/// Makes a tree.
pub(super) struct To;

/// A list in the making, perhaps inside an object with the name of a variant.
pub(super) struct List(Vec<Value>, Option<&'static str>);

/// An object in the making, perhaps inside another one with the name of a variant.
pub(super) struct Object {
    map: Map,
    key: Option<Key>,
    variant: Option<&'static str>,
}

fn wrapped(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        None => value,
        Some(name) => {
            let mut map = Map::with_capacity(1);
            map.push_new(name, value);
            Value::Map(map)
        }
    }
}

impl Serializer for To {
    type Ok = Value;
    type Error = BridgeError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Object;
    type SerializeStruct = Object;
    type SerializeStructVariant = Object;

    fn serialize_bool(self, v: bool) -> Result<Value, BridgeError> {
        Ok(Value::Bool(v))
    }
    fn serialize_i8(self, v: i8) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i16(self, v: i16) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i32(self, v: i32) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_i64(self, v: i64) -> Result<Value, BridgeError> {
        Ok(Value::Int(v))
    }
    fn serialize_u8(self, v: u8) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u16(self, v: u16) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u32(self, v: u32) -> Result<Value, BridgeError> {
        Ok(Value::Int(v.into()))
    }
    fn serialize_u64(self, v: u64) -> Result<Value, BridgeError> {
        i64::try_from(v)
            .map(Value::Int)
            .map_err(|_| BridgeError(format!("{v} does not fit in 63 bits")))
    }
    fn serialize_f32(self, v: f32) -> Result<Value, BridgeError> {
        Ok(Value::Float(v.into()))
    }
    fn serialize_f64(self, v: f64) -> Result<Value, BridgeError> {
        Ok(Value::Float(v))
    }
    fn serialize_char(self, v: char) -> Result<Value, BridgeError> {
        Ok(Value::Str(v.to_string().into()))
    }
    fn serialize_str(self, v: &str) -> Result<Value, BridgeError> {
        Ok(Value::Str(Cow::Owned(v.to_owned())))
    }
    fn serialize_bytes(self, v: &[u8]) -> Result<Value, BridgeError> {
        Ok(Value::Str(STANDARD.encode(v).into()))
    }
    fn serialize_none(self) -> Result<Value, BridgeError> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, BridgeError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, BridgeError> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, BridgeError> {
        Ok(Value::Null)
    }
    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Value, BridgeError> {
        Ok(Value::Str(Cow::Borrowed(variant)))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Value, BridgeError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, BridgeError> {
        Ok(wrapped(Some(variant), value.serialize(self)?))
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<List, BridgeError> {
        Ok(List(Vec::with_capacity(len.unwrap_or(0)), None))
    }
    fn serialize_tuple(self, len: usize) -> Result<List, BridgeError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<List, BridgeError> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<List, BridgeError> {
        Ok(List(Vec::with_capacity(len), Some(variant)))
    }
    fn serialize_map(self, len: Option<usize>) -> Result<Object, BridgeError> {
        Ok(Object {
            map: Map::with_capacity(len.unwrap_or(0)),
            key: None,
            variant: None,
        })
    }
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Object, BridgeError> {
        self.serialize_map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Object, BridgeError> {
        Ok(Object {
            map: Map::with_capacity(len),
            key: None,
            variant: Some(variant),
        })
    }
}

impl List {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        self.0.push(value.serialize(To)?);
        Ok(())
    }
}

macro_rules! list {
    ($($trait:ident $method:ident)*) => {$(
        impl $trait for List {
            type Ok = Value;
            type Error = BridgeError;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
                self.add(value)
            }
            fn end(self) -> Result<Value, BridgeError> {
                Ok(wrapped(self.1, Value::List(self.0)))
            }
        }
    )*};
}

list! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

impl SerializeMap for Object {
    type Ok = Value;
    type Error = BridgeError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), BridgeError> {
        self.key = Some(match key.serialize(To)? {
            Value::Str(s) => s,
            Value::Int(n) => Cow::Owned(n.to_string()),
            other => return Err(BridgeError(format!("a key of type {}", other.type_name()))),
        });
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), BridgeError> {
        let key = self
            .key
            .take()
            .ok_or_else(|| BridgeError("a value without a key".into()))?;
        self.map.push_new(key, value.serialize(To)?);
        Ok(())
    }
    fn end(self) -> Result<Value, BridgeError> {
        Ok(wrapped(self.variant, Value::Map(self.map)))
    }
}

macro_rules! object {
    ($($trait:ident)*) => {$(
        impl $trait for Object {
            type Ok = Value;
            type Error = BridgeError;
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), BridgeError> {
                self.map.push_new(key, value.serialize(To)?);
                Ok(())
            }
            fn end(self) -> Result<Value, BridgeError> {
                Ok(wrapped(self.variant, Value::Map(self.map)))
            }
        }
    )*};
}

object! { SerializeStruct SerializeStructVariant }
