//! Fields of events that are lists, read where they lie.

use std::{fmt, str};

use crate::{
    event::EventError,
    extras::ExtraKey,
    msgpack::{Malformed, Reader, Value},
};

/// The bytes of one whole value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> Raw<'a> {
    pub(super) fn value(self) -> Result<Value<'a>, Malformed> {
        Reader::new(self.0).next()
    }

    pub(super) fn is_nil(self) -> bool {
        self.0.first() == Some(&0xc0)
    }

    pub(super) fn is_map(self) -> bool {
        matches!(self.value(), Ok(Value::Map(_)))
    }

    pub(super) fn text(self) -> Option<&'a str> {
        match self.value() {
            Ok(Value::Str(bytes)) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// What a map has under a key.
    pub(super) fn map_value(self, name: &str) -> Option<Self> {
        let mut reader = Reader::new(self.0);
        let Ok(Value::Map(pairs)) = reader.next() else { return None };
        for _ in 0..pairs {
            let key = Raw(reader.skip().ok()?);
            let value = Raw(reader.skip().ok()?);
            if key.text() == Some(name) {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn hash(self) -> Result<u64, EventError> {
        hash(self.value()?)
    }
}

/// An engine's hash as a number: integers of every width as they are (negative ones as two's complement), bytes by their last 8.
fn hash(value: Value<'_>) -> Result<u64, EventError> {
    match value {
        Value::Unsigned(hash) => Ok(hash),
        Value::Negative(hash) => Ok(hash as u64),
        Value::Bin([]) => Err(EventError::EmptyHash),
        Value::Bin(bytes) => Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))),
        _ => Err(EventError::Field("block_hashes")),
    }
}

/// A token; a pair of tokens counts as its first.
fn token(reader: &mut Reader<'_>) -> Result<u32, EventError> {
    const WRONG: EventError = EventError::Field("token_ids");
    match reader.next()? {
        Value::Unsigned(token) => u32::try_from(token).map_err(|_| WRONG),
        Value::Array(len @ 1..) => {
            let Value::Unsigned(token) = reader.next()? else { return Err(WRONG) };
            for _ in 1..len {
                reader.skip()?;
            }
            u32::try_from(token).map_err(|_| WRONG)
        }
        _ => Err(WRONG),
    }
}

fn list<'a>(value: Raw<'a>, name: &'static str) -> Result<(Reader<'a>, u32), EventError> {
    let mut reader = Reader::new(value.0);
    match reader.next()? {
        Value::Array(len) => Ok((reader, len)),
        _ => Err(EventError::Field(name)),
    }
}

/// A list of hashes.
#[derive(Clone, Copy)]
pub struct Hashes<'a> {
    items: Reader<'a>,
    len: u32,
}

/// A list of tokens.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    items: Reader<'a>,
    len: u32,
}

macro_rules! number_list {
    ($name:ident, $item:ty, $field:literal, $read:expr) => {
        impl Default for $name<'_> {
            fn default() -> Self {
                Self { items: Reader::new(&[]), len: 0 }
            }
        }

        impl<'a> $name<'a> {
            /// Checks every item, so that none fails later.
            pub(super) fn read(value: Raw<'a>) -> Result<Self, EventError> {
                let (items, len) = list(value, $field)?;
                let mut check = items;
                for _ in 0..len {
                    $read(&mut check)?;
                }
                Ok(Self { items, len })
            }

            /// How many there are.
            pub fn len(&self) -> usize {
                self.len as usize
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len == 0
            }

            /// Each of them, in order.
            pub fn iter(&self) -> impl Iterator<Item = $item> + 'a {
                let mut items = self.items;
                (0..self.len).map_while(move |_| $read(&mut items).ok())
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.len == other.len && self.iter().eq(other.iter())
            }
        }
    };
}

number_list!(Hashes, u64, "block_hashes", |reader: &mut Reader<'_>| reader.next().map_err(EventError::from).and_then(hash));
number_list!(Tokens, u32, "token_ids", token);

/// For each block nothing, or a list of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ExtraLists<'a>(&'a [u8]);

impl<'a> ExtraLists<'a> {
    pub(super) fn read(value: Raw<'a>) -> Result<Self, EventError> {
        let (mut reader, blocks) = list(value, "extra_keys")?;
        for block in 0..blocks {
            match Raw(reader.skip()?).value()? {
                Value::Nil | Value::Array(_) => {}
                _ => return Err(EventError::ExtraKeys { block }),
            }
        }
        Ok(Self(value.0))
    }

    /// Shows each key with its block's place. Names come as media: what else they may be, the event knows. Numbers are skipped.
    pub(super) fn for_each(self, mut f: impl FnMut(u32, ExtraKey<'a>)) {
        let mut reader = Reader::new(self.0);
        let Ok(Value::Array(blocks)) = reader.next() else { return };
        for block in 0..blocks {
            let Ok(Value::Array(keys)) = reader.next() else { continue };
            for _ in 0..keys {
                let Ok(key) = reader.skip() else { return };
                let mut inside = Reader::new(key);
                let mut value = inside.next();
                // A name with an offset behind it.
                if let Ok(Value::Array(1..)) = value {
                    value = inside.next();
                }
                match value {
                    Ok(Value::Str(name)) => _ = str::from_utf8(name).map(|name| f(block, ExtraKey::Media(name))),
                    Ok(Value::Bin(content)) => f(block, ExtraKey::Opaque(content)),
                    _ => {}
                }
            }
        }
    }
}

/// What kind of layers a group of blocks belongs to: how much of a prompt has to be there for a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheKind {
    /// Every token looks at all before it.
    FullAttention,
    /// The same with compressed keys and values.
    MlaAttention,
    /// The same with a sink.
    SinkFullAttention,
    /// A token looks at a window before it.
    SlidingWindow,
    /// The same with compressed keys and values.
    SlidingWindowMla,
    /// A state that is carried along.
    Mamba,
    /// A token looks at its own chunk.
    ChunkedLocalAttention,
    /// Only an encoder's own tokens.
    EncoderOnlyAttention,
    /// A decoder's look at an encoder.
    CrossAttention,
    /// Something new.
    Unknown,
}

impl CacheKind {
    const NAMES: [(&str, Self); 9] = [
        ("full_attention", Self::FullAttention),
        ("mla_attention", Self::MlaAttention),
        ("sink_full_attention", Self::SinkFullAttention),
        ("sliding_window", Self::SlidingWindow),
        ("sliding_window_mla", Self::SlidingWindowMla),
        ("mamba", Self::Mamba),
        ("chunked_local_attention", Self::ChunkedLocalAttention),
        ("encoder_only_attention", Self::EncoderOnlyAttention),
        ("cross_attention", Self::CrossAttention),
    ];

    pub(super) fn of(name: &str) -> Self {
        Self::NAMES.iter().find(|(one, _)| *one == name).map_or(Self::Unknown, |(_, kind)| *kind)
    }

    /// Its name in events.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("unknown", |(name, _)| name)
    }

    /// Whether a hit needs every block of the prefix.
    pub fn is_dense(self) -> bool {
        matches!(self, Self::FullAttention | Self::MlaAttention | Self::SinkFullAttention)
    }
}
