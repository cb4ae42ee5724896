//! A serde deserializer over nodes: strict about field names, exact about places, and able to go on after an error.

use std::cell::RefCell;

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use self::{error::Error, key::Key, meta::Parts, variant::Variant};
use super::{Entry, Node, Value};
use crate::diagnostic::{Diagnostic, Diagnostics};

mod error;
mod key;
mod message;
mod meta;
#[cfg(test)]
mod tests;
mod variant;

pub(crate) use self::meta::Meta;

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
                let place = error.place().unwrap_or_else(|| (node.at, path.to_owned()));
                // A field that was left out on purpose is not missing.
                let ours = error.missing().is_some_and(|field| {
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
    notes: RefCell<Diagnostics>,
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
            return visitor.visit_seq(Parts::new(meta, self)).map_err(|e| self.place(e));
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
