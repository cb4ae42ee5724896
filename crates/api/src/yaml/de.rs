//! A serde deserializer over nodes: strict about field names, exact about places, and able to go on after an error.

use std::{cell::RefCell, fmt};

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor,
        value::{StrDeserializer, StringDeserializer, U32Deserializer},
    },
    forward_to_deserialize_any,
};

use super::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics, Span};

mod message;
#[cfg(test)]
mod tests;

/// Name of the newtype by which a type asks for its place: the visitor then gets a [`Meta`] followed by the value.
pub(crate) const LOCATED: &str = "$weir::Located";

/// After this many errors of wrong types the rest is not looked at.
const MAX_ERRORS: usize = 20;

/// How field names are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Exactly.
    Sensitive,
    /// A field that differs in case only is accepted with a warning.
    Insensitive,
}

/// Decodes a node; unknown fields and wrong types are errors.
///
/// # Errors
/// The first error of the text.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Diagnostic> {
    let (value, found) = decode(node, "", Case::Sensitive);
    match (found.errors().next(), value) {
        (None, Some(value)) => Ok(value),
        (Some(error), _) => Err(error.clone()),
        (None, None) => Err(Diagnostic::error(node.at, "", "cannot be decoded")),
    }
}

/// Decodes a node that stands at `path` of its document, and reports every error and warning, not only the first.
///
/// The value is there when nothing had a wrong type; it may only be used when the diagnostics have no error, since
/// what was unknown or wrong is left out of it.
pub fn decode<T: DeserializeOwned>(node: &Node, path: &str, case: Case) -> (Option<T>, Diagnostics) {
    let mut found = Diagnostics::new();
    let mut skip: Vec<String> = Vec::new();
    // Each round leaves out what was wrong in the rounds before it, so that it meets the next error.
    // A field left out may take its parent with it, hence more rounds than errors.
    for _ in 0..3 * MAX_ERRORS {
        let context = Context { case, notes: RefCell::default(), skip: &skip };
        let result = T::deserialize(De { node, context: &context, path: Path::Root(path) });
        let cut = match result {
            Ok(value) => {
                found.extend(context.notes.into_inner());
                found.sort();
                return (Some(value), found);
            }
            Err(error) => {
                found.extend(context.notes.into_inner());
                let place = error.0.place.clone().unwrap_or_else(|| (node.at, path.to_owned()));
                // A field that was left out on purpose is not missing.
                let ours = error.0.missing.is_some_and(|field| {
                    let mut child = place.1.clone();
                    push_key(&mut child, field);
                    skip.contains(&child)
                });
                if !ours {
                    found.push(error.into_diagnostic(&place));
                }
                place.1
            }
        };
        if cut == path || found.errors().count() >= MAX_ERRORS {
            break;
        }
        skip.push(cut);
    }
    found.sort();
    (None, found)
}

struct Context<'c> {
    case: Case,
    notes: RefCell<Vec<Diagnostic>>,
    /// Paths that are treated as if they were not there.
    skip: &'c [String],
}

/// The way down to a node, built on the stack.
#[derive(Clone, Copy)]
enum Path<'c> {
    Root(&'c str),
    Key(&'c Path<'c>, &'c str),
    Index(&'c Path<'c>, usize),
}

impl Path<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Root(base) => out.push_str(base),
            Self::Key(parent, key) => {
                parent.write(out);
                push_key(out, key);
            }
            Self::Index(parent, index) => {
                parent.write(out);
                out.push_str(&format!("[{index}]"));
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn is_skipped(&self, context: &Context<'_>) -> bool {
        !context.skip.is_empty() && context.skip.contains(&self.text())
    }
}

/// Appends a key to a path: `.key`, or `["odd key"]`.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let simple = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if simple {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
    } else {
        path.push_str(&format!("[{:?}]", super::shorten(key)));
    }
}

/// What went wrong, before it is known where.
pub(crate) struct Error(Box<Inner>);

#[derive(Default)]
struct Inner {
    message: String,
    help: Option<String>,
    place: Option<(Span, String)>,
    missing: Option<&'static str>,
}

impl Error {
    fn new(message: String, help: Option<String>) -> Self {
        Self(Box::new(Inner { message, help, ..Inner::default() }))
    }

    /// The same, placed at a node unless it was placed deeper already.
    fn at(mut self, span: Span, path: &Path<'_>) -> Self {
        if self.0.place.is_none() {
            self.0.place = Some((span, path.text()));
        }
        self
    }

    fn into_diagnostic(self, place: &(Span, String)) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(place.0, &place.1, self.0.message);
        diagnostic.help = self.0.help.or(diagnostic.help);
        diagnostic
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (message, help) = message::mismatch(&found, &expected.to_string());
        Self::new(message, help)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let (message, help) = message::unknown_value(variant, expected);
        Self::new(message, help)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let (message, help) = message::unknown_field(field, expected);
        Self::new(message, help)
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::new(format!("the field `{field}` is missing"), None);
        error.0.missing = Some(field);
        error
    }
}

/// One node being decoded.
#[derive(Clone, Copy)]
struct De<'n, 'c> {
    node: &'n Node,
    context: &'c Context<'c>,
    path: Path<'c>,
}

impl<'n, 'c> De<'n, 'c> {
    fn place(&self, error: Error) -> Error {
        error.at(self.node.at, &self.path)
    }

    fn visit<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Int(n) => match (i64::try_from(*n), u64::try_from(*n)) {
                (_, Ok(n)) => visitor.visit_u64(n),
                (Ok(n), _) => visitor.visit_i64(n),
                _ => visitor.visit_i128(*n),
            },
            Value::Float(n) => visitor.visit_f64(*n),
            Value::String(s) => visitor.visit_borrowed_str(s),
            Value::List(items) => visitor.visit_seq(Items { de: self, items: items.iter().enumerate() }),
            Value::Map(entries) => visitor.visit_map(Fields { de: self, entries: entries.iter(), value: None, fields: None }),
        }
    }

    fn keys(&self) -> Vec<String> {
        match &self.node.value {
            Value::Map(entries) => entries.iter().map(|e| e.key.clone()).collect(),
            _ => Vec::new(),
        }
    }
}

impl<'n> Deserializer<'n> for De<'n, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor).map_err(|e| self.place(e))
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.value == Value::Null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        if name == LOCATED {
            let meta = Meta { at: self.node.at, path: self.path.text(), keys: self.keys() };
            return visitor.visit_seq(Parts { meta, next: 0, value: Some(self) }).map_err(|e| self.place(e));
        }
        visitor.visit_newtype_struct(self).map_err(|e| self.place(e))
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Map(entries) = &self.node.value else {
            // Serde would also take a list of the fields' values.
            let message = format!("expected a mapping, found {}", self.node.describe());
            return Err(self.place(Error::new(message, None)));
        };
        let access = Fields { de: self, entries: entries.iter(), value: None, fields: Some(fields) };
        visitor.visit_map(access).map_err(|e| self.place(e))
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let access = match &self.node.value {
            Value::String(s) => Variant { name: s, at: self.node.at, de: self, value: None },
            Value::Map(entries) if entries.len() == 1 => {
                let entry = &entries[0];
                Variant { name: &entry.key, at: entry.key_at, de: self, value: Some(&entry.value) }
            }
            _ => {
                let message = format!("expected one of {}, found {}", message::list(variants), self.node.describe());
                return Err(self.place(Error::new(message, None)));
            }
        };
        visitor.visit_enum(access).map_err(|e| self.place(e))
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <W: Visitor<'n>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

struct Items<'n, 'c> {
    de: De<'n, 'c>,
    items: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
}

impl<'n> SeqAccess<'n> for Items<'n, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        for (index, node) in self.items.by_ref() {
            let path = Path::Index(&self.de.path, index);
            if path.is_skipped(self.de.context) {
                continue;
            }
            let value = seed.deserialize(De { node, context: self.de.context, path });
            return value.map(Some).map_err(|e| e.at(node.at, &path));
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Fields<'n, 'c> {
    de: De<'n, 'c>,
    entries: std::slice::Iter<'n, Entry>,
    value: Option<&'n Entry>,
    /// Known names when this is a struct; `None` for a map.
    fields: Option<&'static [&'static str]>,
}

impl<'n> Fields<'n, '_> {
    /// The field's own name for a key of the text; `None` leaves the entry out.
    fn known(&self, entry: &'n Entry, fields: &'static [&'static str]) -> Option<&'n str> {
        let key = entry.key.as_str();
        let path = Path::Key(&self.de.path, key);
        if fields.contains(&key) {
            // As in Kubernetes, a field without a value is a field that is not there.
            return (entry.value.value != Value::Null && !path.is_skipped(self.de.context)).then_some(key);
        }
        let folded = fields.iter().find(|f| f.eq_ignore_ascii_case(key));
        let note = match (self.de.context.case, folded) {
            (Case::Insensitive, Some(name)) if !self.is_set(name) => {
                let message = format!("the field `{key}` is written `{name}`");
                self.note(Diagnostic::warning(entry.key_at, path.text(), message).with_help(format!("write `{name}`")));
                return (!path.is_skipped(self.de.context)).then_some(*name);
            }
            _ => {
                let (message, help) = message::unknown_field(key, fields);
                Diagnostic { help, ..Diagnostic::error(entry.key_at, path.text(), message) }
            }
        };
        self.note(note);
        None
    }

    fn is_set(&self, name: &str) -> bool {
        self.de.node.get(name).is_some()
    }

    fn note(&self, diagnostic: Diagnostic) {
        self.de.context.notes.borrow_mut().push(diagnostic);
    }
}

impl<'n> MapAccess<'n> for Fields<'n, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        while let Some(entry) = self.entries.next() {
            let key = match self.fields {
                Some(fields) => match self.known(entry, fields) {
                    Some(name) => name,
                    None => continue,
                },
                None => entry.key.as_str(),
            };
            let path = Path::Key(&self.de.path, &entry.key);
            if self.fields.is_none() && path.is_skipped(self.de.context) {
                continue;
            }
            self.value = Some(entry);
            let key = Key { text: key, at: entry.key_at, path: path.text() };
            return seed.deserialize(key).map(Some).map_err(|e| e.at(entry.key_at, &path));
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some(entry) = self.value.take() else {
            return Err(Error::custom("a value was asked for before its key"));
        };
        let path = Path::Key(&self.de.path, &entry.key);
        let de = De { node: &entry.value, context: self.de.context, path };
        seed.deserialize(de).map_err(|e| e.at(entry.value.at, &path))
    }
}

/// A key of a mapping.
struct Key<'n> {
    text: &'n str,
    at: Span,
    path: String,
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
            return visitor.visit_seq(Parts { meta, next: 0, value: Some(self) });
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

struct Variant<'n, 'c> {
    name: &'n str,
    at: Span,
    de: De<'n, 'c>,
    value: Option<&'n Node>,
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

/// Where a value stands, as told to types that ask for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meta {
    pub(crate) at: Span,
    pub(crate) path: String,
    pub(crate) keys: Vec<String>,
}

impl Meta {
    /// Reads what [`Parts`] sends before the value.
    pub(crate) fn read<'de, A: SeqAccess<'de>>(seq: &mut A) -> Result<Self, A::Error> {
        let mut number = || seq.next_element::<u32>().map(Option::unwrap_or_default);
        let (source, line, column, len) = (number()?, number()?, number()?, number()?);
        let at = Span { source: u16::try_from(source).unwrap_or(u16::MAX), line, column, len };
        let path = seq.next_element()?.unwrap_or_default();
        let keys = seq.next_element()?.unwrap_or_default();
        Ok(Self { at, path, keys })
    }
}

/// A [`Meta`], one part after the other, and then the value.
struct Parts<D> {
    meta: Meta,
    next: usize,
    value: Option<D>,
}

impl<'n, D: Deserializer<'n, Error = Error>> SeqAccess<'n> for Parts<D> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'n>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let part = self.next;
        self.next += 1;
        let number = |n: u32| -> U32Deserializer<Error> { n.into_deserializer() };
        let at = self.meta.at;
        match part {
            0 => seed.deserialize(number(at.source.into())).map(Some),
            1 => seed.deserialize(number(at.line)).map(Some),
            2 => seed.deserialize(number(at.column)).map(Some),
            3 => seed.deserialize(number(at.len)).map(Some),
            4 => {
                let path: StringDeserializer<Error> = std::mem::take(&mut self.meta.path).into_deserializer();
                seed.deserialize(path).map(Some)
            }
            5 => {
                let keys = std::mem::take(&mut self.meta.keys);
                seed.deserialize(serde::de::value::SeqDeserializer::new(keys.into_iter())).map(Some)
            }
            _ => self.value.take().map(|d| seed.deserialize(d)).transpose(),
        }
    }
}
