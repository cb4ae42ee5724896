//! Enums: `word`, or `word: value`.

use serde::{
    Deserializer,
    de::{DeserializeSeed, EnumAccess, VariantAccess, Visitor},
};

use super::{De, Error, Key, Path};
use crate::{
    diagnostic::Span,
    yaml::{Node, Value},
};

/// An enum: a word, or a mapping of one key, which is the word.
pub(super) struct Variant<'n, 'c> {
    pub(super) name: &'n str,
    pub(super) at: Span,
    pub(super) de: De<'n, 'c>,
    pub(super) value: Option<&'n Node>,
}

impl<'n, 'c> EnumAccess<'n> for Variant<'n, 'c> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'n>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let key = Key { text: self.name, at: self.at, path: self.de.path.text() };
        let value = seed.deserialize(key).map_err(|e| e.at(self.at, &self.de.path))?;
        Ok((value, self))
    }
}

impl<'n, 'c> Variant<'n, 'c> {
    fn content<T>(self, read: impl FnOnce(De<'n, '_>) -> Result<T, Error>) -> Result<T, Error> {
        let Some(node) = self.value else {
            return Err(Error::new(format!("`{}` needs a value", self.name), None).at(self.at, &self.de.path));
        };
        let path = Path::Key(&self.de.path, self.name);
        read(De { node, context: self.de.context, path }).map_err(|e| e.at(node.at, &path))
    }
}

impl<'n> VariantAccess<'n> for Variant<'n, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.value {
            Some(node) if node.value != Value::Null => {
                let message = format!("`{}` takes no value, found {}", self.name, node.describe());
                Err(Error::new(message, None).at(node.at, &self.de.path))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'n>>(self, seed: S) -> Result<S::Value, Error> {
        self.content(|de| seed.deserialize(de))
    }

    fn tuple_variant<V: Visitor<'n>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.content(|de| de.deserialize_any(visitor))
    }

    fn struct_variant<V: Visitor<'n>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.content(|de| de.deserialize_struct("", fields, visitor))
    }
}
