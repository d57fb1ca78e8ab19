//! serde's reading half.

use std::borrow::Cow;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::BridgeError;
use crate::{Key, Value};

/// A tree to be read.
pub(super) struct From(pub(super) Value);

type Items = std::vec::IntoIter<Value>;
type Entries = std::vec::IntoIter<(Key, Value)>;

impl<'de> Deserializer<'de> for From {
    type Error = BridgeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(b),
            Value::Int(n) => visitor.visit_i64(n),
            Value::Float(f) => visitor.visit_f64(f),
            Value::Str(Cow::Borrowed(s)) => visitor.visit_borrowed_str(s),
            Value::Str(Cow::Owned(s)) => visitor.visit_string(s),
            Value::List(list) => visitor.visit_seq(Seq(list.into_iter())),
            Value::Map(map) => visitor.visit_map(Members {
                entries: map.into_iter(),
                value: Value::Null,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BridgeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        let wrong = |value: &Value| {
            let got = Unexpected::Other(value.type_name());
            <BridgeError as serde::de::Error>::invalid_type(got, &"a string or an object with one member")
        };
        match self.0 {
            Value::Str(name) => visitor.visit_enum(Variant {
                name,
                content: Value::Null,
            }),
            Value::Map(map) if map.len() == 1 => match map.into_iter().next() {
                Some((name, content)) => visitor.visit_enum(Variant { name, content }),
                None => Err(wrong(&Value::Null)),
            },
            other => Err(wrong(&other)),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Seq(Items);

impl<'de> SeqAccess<'de> for Seq {
    type Error = BridgeError;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, BridgeError> {
        self.0
            .next()
            .map(|value| seed.deserialize(From(value)))
            .transpose()
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Members {
    entries: Entries,
    value: Value,
}

impl<'de> MapAccess<'de> for Members {
    type Error = BridgeError;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, BridgeError> {
        let Some((key, value)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = value;
        match key {
            Cow::Borrowed(key) => seed
                .deserialize(serde::de::value::BorrowedStrDeserializer::new(key))
                .map(Some),
            Cow::Owned(key) => {
                let key: StringDeserializer<BridgeError> = key.into_deserializer();
                seed.deserialize(key).map(Some)
            }
        }
    }
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, BridgeError> {
        seed.deserialize(From(self.value.take()))
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

struct Variant {
    name: Cow<'static, str>,
    content: Value,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = BridgeError;
    type Variant = Content;
    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Content), BridgeError> {
        let name: StringDeserializer<BridgeError> = self.name.into_owned().into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

struct Content(Value);

impl<'de> VariantAccess<'de> for Content {
    type Error = BridgeError;
    fn unit_variant(self) -> Result<(), BridgeError> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, BridgeError> {
        seed.deserialize(From(self.0))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, BridgeError> {
        From(self.0).deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BridgeError> {
        From(self.0).deserialize_any(visitor)
    }
}
