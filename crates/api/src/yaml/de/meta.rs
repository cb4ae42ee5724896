//! How a value's place travels through serde to types that ask for it.

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, IntoDeserializer, SeqAccess,
        value::{SeqDeserializer, StringDeserializer, U32Deserializer},
    },
};

use super::Error;
use crate::diagnostic::Span;

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
pub(super) struct Parts<D> {
    meta: Meta,
    next: usize,
    value: Option<D>,
}

impl<D> Parts<D> {
    pub(super) fn new(meta: Meta, value: D) -> Self {
        Self { meta, next: 0, value: Some(value) }
    }
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
                seed.deserialize(SeqDeserializer::new(keys.into_iter())).map(Some)
            }
            _ => self.value.take().map(|d| seed.deserialize(d)).transpose(),
        }
    }
}
