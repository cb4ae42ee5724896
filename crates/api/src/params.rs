//! A plugin's own parameters, kept as written until the plugin decodes them.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, SeqAccess, Visitor},
};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Span},
    yaml::{Case, LOCATED, Meta, Node, Value, decode},
};

/// Parameters of a plugin: a mapping that only the plugin understands, or nothing.
///
/// Decoding is strict: unknown fields are errors. A field whose name differs in case only is accepted with a warning,
/// since llm-d accepts it silently.
///
/// ```
/// # use weir_api::{Params, Diagnostics};
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "camelCase", default)]
/// struct Scorer { idle_threshold: u32 }
/// impl Default for Scorer { fn default() -> Self { Self { idle_threshold: 0 } } }
///
/// let params = Params::from_yaml("idlethreshold: 2").unwrap();
/// let mut notes = Diagnostics::new();
/// let scorer: Scorer = params.decode_noting(&mut notes).unwrap();
/// assert_eq!(scorer.idle_threshold, 2);
/// assert_eq!(notes.warnings().count(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Params {
    node: Option<Node>,
    path: String,
    at: Span,
}

impl Params {
    /// Parameters read from a text of their own.
    ///
    /// # Errors
    /// As [`crate::yaml::parse`].
    pub fn from_yaml(text: &str) -> Result<Self, Diagnostic> {
        let node = crate::yaml::parse(text)?;
        Ok(Self { at: node.at, node: Some(node), path: String::new() })
    }

    /// No parameters, in a document at this place.
    pub(crate) fn none_at(at: Span, path: String) -> Self {
        Self { node: None, path, at }
    }

    /// What was written, if anything.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Where it was written; without parameters, where the plugin was.
    #[must_use]
    pub fn at(&self) -> Span {
        self.at
    }

    /// Where it is in the configuration, as in `plugins[3].parameters`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Decodes the parameters; nothing at all counts as an empty mapping.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Diagnostic> {
        let mut notes = Diagnostics::new();
        let value = self.decode_noting(&mut notes);
        value.ok_or_else(|| {
            let first = notes.errors().next().cloned();
            first.unwrap_or_else(|| self.error("cannot be decoded"))
        })
    }

    /// Decodes the parameters and adds every error and warning to `notes`. `None` if there was an error.
    pub fn decode_noting<T: DeserializeOwned>(&self, notes: &mut Diagnostics) -> Option<T> {
        let nothing = Node { at: self.at, value: Value::Map(Vec::new()) };
        let node = self.node.as_ref().filter(|n| n.value != Value::Null).unwrap_or(&nothing);
        let (value, found) = decode(node, &self.path, Case::Insensitive);
        let failed = found.has_errors();
        notes.extend(found);
        value.filter(|_| !failed)
    }

    /// An error about the parameters as a whole.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.at, &self.path, message)
    }

    /// An error about one field of them, given as a dotted path such as `sessionIdConfig.sources`.
    pub fn error_at(&self, field: &str, message: impl Into<String>) -> Diagnostic {
        let mut path = self.path.clone();
        let mut at = self.at;
        let mut node = self.node.as_ref();
        for key in field.split('.') {
            crate::yaml::push_key(&mut path, key);
            node = node.and_then(|n| n.get(key));
            at = node.map_or(at, |n| n.at);
        }
        Diagnostic::error(at, path, message)
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl From<Node> for Params {
    fn from(node: Node) -> Self {
        Self { at: node.at, node: Some(node), path: String::new() }
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Located;
        impl<'de> Visitor<'de> for Located {
            type Value = Params;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Params, A::Error> {
                let Meta { at, path, .. } = Meta::read(&mut seq)?;
                let node: Option<Node> = seq.next_element()?;
                Ok(Params { node: node.filter(|n| n.value != Value::Null), path, at })
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Params, D::Error> {
                Node::deserialize(deserializer).map(Params::from)
            }
        }
        deserializer.deserialize_newtype_struct(LOCATED, Located)
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.node.serialize(serializer)
    }
}

impl JsonSchema for Params {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Parameters".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["object", "null"] })
    }
}
