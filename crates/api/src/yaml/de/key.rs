//! Keys of mappings as values to be decoded.

use serde::{
    Deserializer,
    de::{IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use super::{Error, LOCATED, Meta, Parts};
use crate::diagnostic::Span;

/// A key of a mapping.
pub(super) struct Key<'n> {
    pub(super) text: &'n str,
    pub(super) at: Span,
    pub(super) path: String,
}

impl<'n> Deserializer<'n> for Key<'n> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == LOCATED {
            let meta = Meta { at: self.at, path: self.path.clone(), keys: Vec::new() };
            return visitor.visit_seq(Parts::new(meta, self));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let unit: StrDeserializer<'n, Error> = self.text.into_deserializer();
        visitor.visit_enum(unit)
    }

    fn deserialize_i64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text.parse() {
            Ok(n) => visitor.visit_i64(n),
            Err(_) => visitor.visit_borrowed_str(self.text),
        }
    }

    fn deserialize_u64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text.parse() {
            Ok(n) => visitor.visit_u64(n),
            Err(_) => visitor.visit_borrowed_str(self.text),
        }
    }

    fn deserialize_i32<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u32<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_u64(visitor)
    }

    forward_to_deserialize_any! {
        <W: Visitor<'n>>
        bool i8 i16 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
