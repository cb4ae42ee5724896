//! The metadata that a proxy sends with every message.

use std::collections::BTreeMap;

use prost::{
    DecodeError, Message,
    bytes::{Buf, BufMut},
    encoding::{self, DecodeContext, WireType, skip_field},
};
use prost_types::{ListValue, Struct, Value, value::Kind};
use weir_api::headers::{DESTINATION_ENDPOINT_SERVED, DESTINATION_ENDPOINT_SUBSET, LB_NAMESPACE, SUBSET_NAMESPACE};

/// `envoy.config.core.v3.Metadata`, of which only the endpoint picker protocol's keys are read. Nothing else of it is decoded: it
/// comes with every piece of a response, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The endpoints that the request may go to, from `envoy.lb.subset_hint`.
    pub subset: Option<Vec<String>>,
    /// The endpoint that served the request, from `envoy.lb`.
    pub served: Option<String>,
    /// There is a namespace `envoy.lb`.
    pub balanced: bool,
}

/// `filter_metadata`, a map from namespaces to `Struct`s.
const FILTER_METADATA: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;
/// `Struct.fields`
const FIELDS: u32 = 1;
/// `Value.string_value`
const STRING: u32 = 3;
/// `Value.list_value`
const LIST: u32 = 6;
/// `ListValue.values`
const VALUES: u32 = 1;

impl Message for Metadata {
    fn merge_field(&mut self, tag: u32, wire_type: WireType, buf: &mut impl Buf, ctx: DecodeContext) -> Result<(), DecodeError> {
        if tag != FILTER_METADATA || wire_type != WireType::LengthDelimited {
            return skip_field(wire_type, tag, buf, ctx);
        }
        let mut entry = bytes::Bytes::new();
        encoding::bytes::merge(wire_type, &mut entry, buf, ctx)?;
        let (key, value) = key_and_value(&entry);
        match key {
            key if key == SUBSET_NAMESPACE.as_bytes() => {
                if let Some(value) = field(value, DESTINATION_ENDPOINT_SUBSET) {
                    self.subset = Some(strings(value));
                }
            }
            key if key == LB_NAMESPACE.as_bytes() => {
                self.balanced = true;
                if let Some(value) = field(value, DESTINATION_ENDPOINT_SERVED) {
                    self.served = strings(value).into_iter().next();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn encode_raw(&self, buf: &mut impl BufMut) {
        use encoding::{btree_map, message, string};
        btree_map::encode(string::encode, string::encoded_len, message::encode, message::encoded_len, 1, &self.structs(), buf);
    }

    fn encoded_len(&self) -> usize {
        use encoding::{btree_map, message, string};
        btree_map::encoded_len(string::encoded_len, message::encoded_len, FILTER_METADATA, &self.structs())
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Metadata {
    fn structs(&self) -> BTreeMap<String, Struct> {
        let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
        let one = |key: &str, value| Struct { fields: BTreeMap::from([(key.to_owned(), value)]) };
        let mut all = BTreeMap::new();
        if let Some(subset) = &self.subset {
            let list = ListValue { values: subset.iter().map(text).collect() };
            let value = Value { kind: Some(Kind::ListValue(list)) };
            all.insert(SUBSET_NAMESPACE.to_owned(), one(DESTINATION_ENDPOINT_SUBSET, value));
        }
        if self.balanced {
            let fields = self.served.as_ref().map(|served| one(DESTINATION_ENDPOINT_SERVED, text(served)));
            all.insert(LB_NAMESPACE.to_owned(), fields.unwrap_or_default());
        }
        all
    }
}

/// The value of one field of a `Struct`.
fn field<'a>(fields: &'a [u8], name: &str) -> Option<&'a [u8]> {
    parts(fields)
        .filter(|(tag, _)| *tag == FIELDS)
        .map(|(_, entry)| key_and_value(entry))
        .find_map(|(key, value)| (key == name.as_bytes()).then_some(value))
}

/// The text of a `Value`, or the texts of its list.
fn strings(value: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for (tag, part) in parts(value) {
        match tag {
            STRING => found.push(String::from_utf8_lossy(part).into_owned()),
            LIST => {
                let values = parts(part).filter(|(tag, _)| *tag == VALUES);
                let texts = values.flat_map(|(_, value)| parts(value)).filter(|(tag, _)| *tag == STRING);
                found.extend(texts.map(|(_, text)| String::from_utf8_lossy(text).into_owned()));
            }
            _ => {}
        }
    }
    found
}

fn key_and_value(entry: &[u8]) -> (&[u8], &[u8]) {
    let (mut key, mut value) = (&[][..], &[][..]);
    for (tag, part) in parts(entry) {
        match tag {
            KEY => key = part,
            VALUE => value = part,
            _ => {}
        }
    }
    (key, value)
}

/// The fields of a message that have a length, up to the first broken one.
fn parts(mut message: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        while !message.is_empty() {
            let (tag, wire_type) = encoding::decode_key(&mut message).ok()?;
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, tag, &mut message, DecodeContext::default()).ok()?;
                continue;
            }
            let length = usize::try_from(encoding::decode_varint(&mut message).ok()?).ok()?;
            let (part, rest) = message.split_at_checked(length)?;
            message = rest;
            return Some((tag, part));
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(namespaces: &[(&str, Struct)]) -> Metadata {
        #[derive(Clone, PartialEq, Message)]
        struct Plain {
            #[prost(btree_map = "string, message", tag = "1")]
            filter_metadata: BTreeMap<String, Struct>,
            #[prost(string, tag = "7")]
            unknown: String,
        }
        let filter_metadata = namespaces.iter().map(|(name, fields)| ((*name).to_owned(), fields.clone())).collect();
        let bytes = Plain { filter_metadata, unknown: "x".into() }.encode_to_vec();
        Metadata::decode(bytes.as_slice()).unwrap()
    }

    fn fields(list: &[(&str, Kind)]) -> Struct {
        Struct { fields: list.iter().map(|(key, kind)| ((*key).to_owned(), Value { kind: Some(kind.clone()) })).collect() }
    }

    fn list(texts: &[&str]) -> Kind {
        let value = |text: &&str| Value { kind: Some(Kind::StringValue((*text).to_owned())) };
        Kind::ListValue(ListValue { values: texts.iter().map(value).collect() })
    }

    #[test]
    fn hints_come_as_lists_and_as_text() {
        let other = ("a", Kind::NumberValue(1.5));
        for (kind, want) in [
            (list(&["10.0.0.1:8000", "10.0.0.2:8000"]), vec!["10.0.0.1:8000", "10.0.0.2:8000"]),
            (list(&[]), vec![]),
            (Kind::StringValue("10.0.0.1:8000,10.0.0.2".into()), vec!["10.0.0.1:8000,10.0.0.2"]),
        ] {
            let found = decode(&[
                ("envoy.lb.subset_hint", fields(&[other.clone(), (DESTINATION_ENDPOINT_SUBSET, kind)])),
                ("envoy.lb", fields(&[(DESTINATION_ENDPOINT_SERVED, Kind::StringValue("[::1]:9".into()))])),
            ]);
            assert_eq!(found.subset.unwrap(), want);
            assert_eq!(found.served.unwrap(), "[::1]:9");
        }
        assert_eq!(decode(&[("envoy.lb.subset_hint", fields(&[other])), ("x", Struct::default())]), Metadata::default());
    }

    #[test]
    fn what_it_writes_it_reads() {
        let all = Metadata { subset: Some(vec!["a".into(), "b".into()]), served: Some("c".into()), balanced: true };
        let bytes = all.encode_to_vec();
        assert_eq!(bytes.len(), all.encoded_len());
        assert_eq!(Metadata::decode(bytes.as_slice()).unwrap(), all);
    }

    #[test]
    fn broken_bytes_are_an_error_or_nothing() {
        let good = Metadata { subset: Some(vec!["10.0.0.1:8000".into()]), served: None, balanced: false }.encode_to_vec();
        for end in 0..good.len() {
            let _ = Metadata::decode(&good[..end]);
            let mut bent = good.clone();
            bent[end] ^= 0xff;
            let _ = Metadata::decode(bent.as_slice());
        }
    }
}
