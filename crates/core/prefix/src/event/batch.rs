//! The payload of one message: a batch of events.

use std::str;

use crate::{
    event::{Event, Removed, Stored, fields::*},
    msgpack::{Malformed, Reader, Value},
    tier::Tier,
};

/// Why a payload is no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// It is no msgpack.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is neither a list nor a map that has events.
    #[error("the payload is no batch of events")]
    NoBatch,
}

/// Why one event is skipped. The others of its batch are not concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is no msgpack; with it the batch ends.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is no list and no map, or an empty list.
    #[error("malformed tagged union: no tag")]
    NoTag,
    /// A map without the key.
    #[error("map-encoded event is missing the \"type\" tag")]
    NoType,
    /// Something new.
    #[error("unknown event tag")]
    UnknownTag,
    /// A list that is too short.
    #[error("{tag}: need at least {fields} fields")]
    TooShort {
        /// What the event is.
        tag: &'static str,
        /// How long it has to be.
        fields: usize,
    },
    /// A block's extra keys are no list.
    #[error("extra_keys[{block}] has invalid type")]
    ExtraKeys {
        /// Its place in the event.
        block: u32,
    },
    /// A hash of no bytes.
    #[error("hash byte slice is empty")]
    EmptyHash,
    /// A field is not what it should be.
    #[error("{0} has invalid type")]
    Field(&'static str),
}

impl EventError {
    /// A short name of the reason, for labels.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NoTag | Self::NoType => "no_tag",
            Self::UnknownTag => "unknown_tag",
            Self::TooShort { .. } => "too_short",
            Self::ExtraKeys { .. } => "extra_keys",
            Self::EmptyHash => "empty_hash",
            Self::Field(_) => "field",
        }
    }
}

/// The events of one message. As an iterator it gives each of them, or why that one is skipped.
///
/// Lists and maps are read alike, at both levels, and events that are packed once more. Nothing is copied; all that follows a
/// broken value is lost, everything else is isolated.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Seconds since 1970, as the engine's clock has it; 0 if it does not say.
    pub timestamp: f64,
    /// The data-parallel rank that speaks.
    pub rank: Option<u32>,
    events: Reader<'a>,
    left: u32,
}

impl<'a> Batch<'a> {
    /// Reads the batch's frame. The events come when they are asked for.
    ///
    /// # Errors
    /// The payload is no batch.
    pub fn read(payload: &'a [u8]) -> Result<Self, BatchError> {
        let mut reader = Reader::new(payload);
        let mut batch = Self { timestamp: 0.0, rank: None, events: Reader::new(&[]), left: 0 };
        match reader.next()? {
            Value::Array(len) if len >= 2 => {
                batch.timestamp = seconds(reader.skip()?);
                if !batch.take_events(&mut reader)? {
                    return Err(BatchError::NoBatch);
                }
                if len >= 3 && !reader.is_empty() {
                    batch.rank = number(reader.skip()?);
                }
            }
            Value::Map(pairs) => {
                let mut found = false;
                for _ in 0..pairs {
                    let key = Raw(reader.skip()?).text().unwrap_or_default();
                    match key {
                        "events" => found = batch.take_events(&mut reader)?,
                        "ts" | "timestamp" => batch.timestamp = seconds(reader.skip()?),
                        "data_parallel_rank" | "attn_dp_rank" | "dp_rank" => batch.rank = number(reader.skip()?),
                        _ => _ = reader.skip()?,
                    }
                }
                if !found {
                    return Err(BatchError::NoBatch);
                }
            }
            _ => return Err(BatchError::NoBatch),
        }
        Ok(batch)
    }

    /// Events that are still to come.
    pub fn remaining(&self) -> usize {
        self.left as usize
    }

    /// The next value is the list of events. A list that breaks off keeps what came before.
    fn take_events(&mut self, reader: &mut Reader<'a>) -> Result<bool, BatchError> {
        let mut list = *reader;
        let Value::Array(len) = list.next()? else { return Ok(false) };
        (self.events, self.left) = (list, len);
        if reader.skip().is_err() {
            *reader = Reader::new(&[]);
        }
        Ok(true)
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Result<Event<'a>, EventError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.events.skip() {
            Ok(event) => Some(read_event(event)),
            Err(malformed) => {
                self.left = 0;
                Some(Err(malformed.into()))
            }
        }
    }
}

fn seconds(value: &[u8]) -> f64 {
    match Reader::new(value).next() {
        Ok(Value::Float(seconds)) => seconds,
        Ok(Value::Unsigned(seconds)) => seconds as f64,
        _ => 0.0,
    }
}

fn number(value: &[u8]) -> Option<u32> {
    match Reader::new(value).next() {
        Ok(Value::Unsigned(number)) => u32::try_from(number).ok(),
        _ => None,
    }
}

/// One event from the bytes of its value.
fn read_event(mut bytes: &[u8]) -> Result<Event<'_>, EventError> {
    loop {
        let mut reader = Reader::new(bytes);
        return match reader.next()? {
            // Packed once more: what is inside is shorter, so that this ends.
            Value::Bin(inner) => {
                bytes = inner;
                continue;
            }
            Value::Array(0) => Err(EventError::NoTag),
            Value::Array(len) => read_list(reader, len),
            Value::Map(pairs) => read_map(reader, pairs),
            _ => Err(EventError::NoTag),
        };
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Stored,
    Removed,
    Cleared,
}

impl Tag {
    fn of(value: Raw<'_>) -> Result<Self, EventError> {
        match value.text().ok_or(EventError::NoTag)? {
            "BlockStored" | "stored" => Ok(Self::Stored),
            "BlockRemoved" | "removed" => Ok(Self::Removed),
            "AllBlocksCleared" | "cleared" => Ok(Self::Cleared),
            _ => Err(EventError::UnknownTag),
        }
    }
}

/// A list: fields by place.
fn read_list(mut reader: Reader<'_>, len: u32) -> Result<Event<'_>, EventError> {
    let tag = Tag::of(Raw(reader.skip()?))?;
    let mut fields = Fields::default();
    for place in 1..len {
        let value = Raw(reader.skip()?);
        let field = match (tag, place) {
            (Tag::Stored, 1) | (Tag::Removed, 1) => &mut fields.hashes,
            (Tag::Stored, 2) => &mut fields.parent,
            (Tag::Stored, 3) => &mut fields.tokens,
            (Tag::Stored, 4) => &mut fields.block_size,
            (Tag::Stored, 5) => &mut fields.lora_id,
            (Tag::Stored, 6) | (Tag::Removed, 2) => &mut fields.medium,
            (Tag::Stored, 7) => &mut fields.lora_name,
            // Engines without extra keys may end with a map of their own.
            (Tag::Stored, 8..) if value.is_map() => {
                fields.cache_salt = value.map_value("cache_salt").or(fields.cache_salt);
                continue;
            }
            (Tag::Stored, 8) => &mut fields.extra_keys,
            (Tag::Stored, 9) | (Tag::Removed, 3) => &mut fields.group,
            (Tag::Stored, 10) => &mut fields.kind,
            (Tag::Stored, 11) => &mut fields.window,
            (Tag::Stored, 12) => &mut fields.locality,
            _ => continue,
        };
        *field = Some(value);
    }
    match tag {
        Tag::Stored if len < 5 => Err(EventError::TooShort { tag: "BlockStored", fields: 5 }),
        Tag::Removed if len < 2 => Err(EventError::TooShort { tag: "BlockRemoved", fields: 2 }),
        tag => event(tag, &fields),
    }
}

/// A map: fields by name, in the engines' spelling and in the vendor-neutral one.
fn read_map(mut reader: Reader<'_>, pairs: u32) -> Result<Event<'_>, EventError> {
    let mut fields = Fields::default();
    let mut tag = None;
    for _ in 0..pairs {
        let key = Raw(reader.skip()?).text().unwrap_or_default();
        let value = Raw(reader.skip()?);
        let field = match key {
            "type" | "event_type" => {
                tag = tag.or(Some(Tag::of(value)?));
                continue;
            }
            "block_hashes" | "seq_hashes" => &mut fields.hashes,
            "parent_block_hash" | "parent_hash" => &mut fields.parent,
            "token_ids" => &mut fields.tokens,
            "block_size" => &mut fields.block_size,
            "lora_id" => &mut fields.lora_id,
            "medium" => &mut fields.medium,
            "lora_name" => &mut fields.lora_name,
            "extra_keys" => &mut fields.extra_keys,
            "group_idx" => &mut fields.group,
            "kv_cache_spec_kind" => &mut fields.kind,
            "kv_cache_spec_sliding_window" => &mut fields.window,
            "locality" => &mut fields.locality,
            "cache_salt" => &mut fields.cache_salt,
            "metadata" if value.is_map() => {
                fields.cache_salt = value.map_value("cache_salt").or(fields.cache_salt);
                continue;
            }
            _ => continue,
        };
        // Two spellings may stand side by side; the one that says something counts.
        if field.is_none() || !value.is_nil() {
            *field = Some(value);
        }
    }
    event(tag.ok_or(EventError::NoType)?, &fields)
}

/// Fields as they stand.
#[derive(Default)]
struct Fields<'a> {
    hashes: Option<Raw<'a>>,
    parent: Option<Raw<'a>>,
    tokens: Option<Raw<'a>>,
    block_size: Option<Raw<'a>>,
    lora_id: Option<Raw<'a>>,
    medium: Option<Raw<'a>>,
    lora_name: Option<Raw<'a>>,
    extra_keys: Option<Raw<'a>>,
    group: Option<Raw<'a>>,
    kind: Option<Raw<'a>>,
    window: Option<Raw<'a>>,
    locality: Option<Raw<'a>>,
    cache_salt: Option<Raw<'a>>,
}

fn event<'a>(tag: Tag, fields: &Fields<'a>) -> Result<Event<'a>, EventError> {
    if tag == Tag::Cleared {
        return Ok(Event::Cleared);
    }
    let hashes = Hashes::read(fields.hashes.ok_or(EventError::Field("block_hashes"))?)?;
    let tier = Tier::of_medium(optional_text(fields.medium, "medium")?);
    let group = optional_number(fields.group, "group_idx")?;
    if tag == Tag::Removed {
        return Ok(Event::Removed(Removed { hashes, tier, group }));
    }
    Ok(Event::Stored(Stored {
        hashes,
        parent: match fields.parent.filter(|value| !value.is_nil()) {
            Some(value) => Some(value.hash()?).filter(|parent| *parent != 0),
            None => None,
        },
        tokens: fields.tokens.filter(|value| !value.is_nil()).map_or(Ok(Tokens::default()), Tokens::read)?,
        block_tokens: optional_number(fields.block_size, "block_size")?.unwrap_or(0),
        tier,
        lora_id: fields.lora_id.and_then(|value| match value.value() {
            Ok(Value::Unsigned(id)) => Some(id),
            _ => None,
        }),
        lora_name: optional_text(fields.lora_name, "lora_name")?.filter(|name| !name.is_empty()),
        group,
        kind: optional_text(fields.kind, "kv_cache_spec_kind")?.map(CacheKind::of),
        window_tokens: optional_number(fields.window, "kv_cache_spec_sliding_window")?,
        remote: optional_text(fields.locality, "locality")?.is_some_and(|text| text.eq_ignore_ascii_case("remote")),
        cache_salt: optional_text(fields.cache_salt, "cache_salt")?.filter(|salt| !salt.is_empty()),
        extra_keys: fields.extra_keys.filter(|value| !value.is_nil()).map_or(Ok(ExtraLists::default()), ExtraLists::read)?,
    }))
}

fn optional_text<'a>(value: Option<Raw<'a>>, name: &'static str) -> Result<Option<&'a str>, EventError> {
    match value.filter(|value| !value.is_nil()) {
        None => Ok(None),
        Some(value) => match value.value()? {
            Value::Str(bytes) => str::from_utf8(bytes).map(Some).map_err(|_| EventError::Field(name)),
            _ => Err(EventError::Field(name)),
        },
    }
}

fn optional_number(value: Option<Raw<'_>>, name: &'static str) -> Result<Option<u32>, EventError> {
    match value.filter(|value| !value.is_nil()) {
        None => Ok(None),
        Some(value) => match value.value()? {
            Value::Unsigned(number) => u32::try_from(number).map(Some).map_err(|_| EventError::Field(name)),
            _ => Err(EventError::Field(name)),
        },
    }
}
