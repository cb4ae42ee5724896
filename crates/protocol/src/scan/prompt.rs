//! The fields that carry a prompt, and the readers of single values.

use super::{INSTRUCTIONS, RESERVED, Scanned, TOOLS};
use crate::{
    json::{Cursor, JsonStr, Result, Span},
    route::Api,
    scan::{ScanError, ScanErrorKind},
    segment::{MediaKind, Segment},
};

/// How deep a value is whose containers are: the object, `messages`, the message, `content`, …
const FIELD: u32 = 1;
const MESSAGE: u32 = 2;
const MESSAGE_FIELD: u32 = 3;
const PART: u32 = 4;
const PART_FIELD: u32 = 5;

/// What the elements of a list of prompts are; the first one decides.
#[derive(Clone, Copy, PartialEq)]
enum Elements {
    None,
    Prompts,
    Ids,
}

impl Scanned {
    pub(super) fn set(&mut self, place: usize, segment: Segment) {
        if let Some(slot) = self.segments.get_mut(place) {
            *slot = segment;
        }
    }

    fn forget_prompt(&mut self) {
        self.segments.truncate(RESERVED);
        (self.messages, self.prompts) = (0, 0);
    }

    pub(super) fn stream_options(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        self.include_usage = false;
        if cursor.next()? != b'{' {
            return cursor.skip(FIELD).map(drop);
        }
        cursor.object(FIELD + 1, |cursor, key| {
            match key {
                b"include_usage" => self.include_usage = flag(cursor, FIELD + 1)?,
                _ => drop(cursor.skip(FIELD + 1)?),
            }
            Ok(())
        })
    }

    pub(super) fn read_tools(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        self.set(TOOLS, Segment::EMPTY);
        self.tools = 0;
        if cursor.next()? != b'[' {
            return cursor.skip(FIELD).map(drop);
        }
        let start = cursor.at();
        cursor.array(FIELD + 1, |cursor| {
            self.tools += 1;
            cursor.skip(FIELD + 1).map(drop)
        })?;
        if self.tools > 0 {
            self.set(TOOLS, Segment::Json(Span::new(start, cursor.at())));
        }
        Ok(())
    }

    pub(super) fn read_instructions(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let null = cursor.next()? == b'n';
        let raw = cursor.skip(FIELD)?;
        self.set(INSTRUCTIONS, if null { Segment::EMPTY } else { Segment::Json(raw) });
        Ok(())
    }

    /// `messages`: a list of objects with `role` and `content`, in any order.
    pub(super) fn read_messages(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let api = self.api;
        match cursor.next()? {
            b'[' => self.forget_prompt(),
            b'n' => {
                if self.messages > 0 {
                    self.forget_prompt();
                }
                return cursor.skip(FIELD).map(drop);
            }
            _ => return Err(wrong_type(cursor, api, "messages", "a list of messages")),
        }
        let offset = cursor.at();
        cursor.array(MESSAGE, |cursor| {
            if cursor.next()? != b'{' {
                return Err(wrong_type(cursor, api, "messages", "a list of objects"));
            }
            self.messages += 1;
            self.message(cursor)
        })?;
        if self.messages == 0 {
            return Err(empty(offset, api, "messages"));
        }
        self.prompts = 1;
        Ok(())
    }

    fn message(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let place = self.segments.len();
        self.segments.push(Segment::EMPTY);
        cursor.object(MESSAGE_FIELD, |cursor, key| match key {
            b"role" => {
                let role = text(cursor, MESSAGE_FIELD)?;
                self.set(place, role.map_or(Segment::EMPTY, Segment::Text));
                Ok(())
            }
            b"content" => {
                self.segments.truncate(place + 1);
                self.content(cursor)
            }
            _ => cursor.skip(MESSAGE_FIELD).map(drop),
        })
    }

    fn content(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        match cursor.next()? {
            b'"' => {
                let text = cursor.string()?;
                self.segments.push(Segment::Text(text));
                Ok(())
            }
            b'[' => cursor.array(PART, |cursor| self.part(cursor)),
            _ => cursor.skip(MESSAGE_FIELD).map(drop),
        }
    }

    /// One element of a list of contents. A part of an unknown type counts by its `text`.
    fn part(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        match cursor.next()? {
            b'"' => {
                let text = cursor.string()?;
                self.segments.push(Segment::Text(text));
                return Ok(());
            }
            b'{' => {}
            _ => return cursor.skip(PART).map(drop),
        }
        let (mut kind, mut words, mut media) = (None, None, None);
        cursor.object(PART_FIELD, |cursor, key| {
            let (found, inner): (_, &[u8]) = match key {
                b"type" => {
                    kind = text(cursor, PART_FIELD)?;
                    return Ok(());
                }
                b"text" => {
                    words = text(cursor, PART_FIELD)?;
                    return Ok(());
                }
                b"image_url" => (MediaKind::Image, b"url"),
                b"video_url" => (MediaKind::Video, b"url"),
                b"audio_url" => (MediaKind::Audio, b"url"),
                b"input_audio" => (MediaKind::Audio, b"data"),
                _ => return cursor.skip(PART_FIELD).map(drop),
            };
            let reference = media_reference(cursor, inner)?;
            media = reference.map(|reference| Segment::Media { kind: found, reference });
            Ok(())
        })?;
        let is_text = kind.is_some_and(|kind: JsonStr| kind.span.of(cursor.body()).ends_with(b"text"));
        let words = words.map(Segment::Text);
        self.segments.extend(if is_text { words.or(media) } else { media.or(words) });
        Ok(())
    }

    /// `prompt` or `input`: a string, a list of token ids, or a list of either.
    pub(super) fn read_prompts(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        let (api, field) = (self.api, self.api.prompt_field());
        match cursor.next()? {
            b'"' => {
                self.forget_prompt();
                let offset = cursor.at();
                let text = cursor.string()?;
                if text.span.is_empty() && api == Api::Completions {
                    return Err(empty(offset, api, field));
                }
                self.segments.push(Segment::Text(text));
                self.prompts = 1;
                Ok(())
            }
            b'[' => {
                self.forget_prompt();
                let start = cursor.at();
                let mut elements = Elements::None;
                cursor.array(FIELD + 1, |cursor| self.prompt(cursor, &mut elements))?;
                match elements {
                    Elements::None => return Err(empty(start, api, field)),
                    Elements::Prompts => {}
                    Elements::Ids => {
                        self.prompts = 1;
                        self.segments.push(Segment::TokenIds(Span::new(start, cursor.at())));
                    }
                }
                Ok(())
            }
            b'n' => {
                if self.messages == 0 {
                    self.forget_prompt();
                }
                cursor.skip(FIELD).map(drop)
            }
            _ => Err(wrong_type(cursor, api, field, PROMPT)),
        }
    }

    fn prompt(&mut self, cursor: &mut Cursor<'_>, elements: &mut Elements) -> Result<()> {
        let (api, field) = (self.api, self.api.prompt_field());
        let first = cursor.next()?;
        let ids = matches!(first, b'-' | b'0'..=b'9');
        if (*elements == Elements::Ids && !ids) || (*elements == Elements::Prompts && ids) {
            return Err(wrong_type(cursor, api, field, PROMPT));
        }
        if ids {
            *elements = Elements::Ids;
            return token_id(cursor, api, field, FIELD + 1);
        }
        if *elements == Elements::Prompts {
            self.segments.push(Segment::PromptBreak);
        }
        *elements = Elements::Prompts;
        self.prompts += 1;
        let segment = match first {
            b'"' => Segment::Text(cursor.string()?),
            b'[' => {
                let start = cursor.at();
                cursor.array(FIELD + 2, |cursor| token_id(cursor, api, field, FIELD + 2))?;
                Segment::TokenIds(Span::new(start, cursor.at()))
            }
            // Embedding models take objects with text and images.
            b'{' if api == Api::Embeddings => Segment::Json(cursor.skip(FIELD + 1)?),
            _ => return Err(wrong_type(cursor, api, field, PROMPT)),
        };
        self.segments.push(segment);
        Ok(())
    }

    /// `input` of the responses API: counts as the JSON it is.
    pub(super) fn read_input(&mut self, cursor: &mut Cursor<'_>) -> Result<()> {
        self.forget_prompt();
        let first = cursor.next()?;
        if !matches!(first, b'"' | b'[' | b'n') {
            return Err(wrong_type(cursor, self.api, "input", "a string or a list"));
        }
        let raw = cursor.skip(FIELD)?;
        if first != b'n' {
            self.segments.push(Segment::Json(raw));
            self.prompts = 1;
        }
        Ok(())
    }
}

const PROMPT: &str = "a string, a list of strings or token ids";

/// A media part's own value: the reference itself or an object that holds it.
fn media_reference(cursor: &mut Cursor<'_>, inner: &[u8]) -> Result<Option<JsonStr>> {
    if cursor.next()? != b'{' {
        return text(cursor, PART_FIELD);
    }
    let mut reference = None;
    cursor.object(PART_FIELD + 1, |cursor, key| {
        if key == inner {
            reference = text(cursor, PART_FIELD + 1)?;
            return Ok(());
        }
        cursor.skip(PART_FIELD + 1).map(drop)
    })?;
    Ok(reference)
}

fn token_id(cursor: &mut Cursor<'_>, api: Api, field: &'static str, depth: u32) -> Result<()> {
    const WANT: &str = "token ids (whole numbers from 0 to 4294967295)";
    cursor.next()?;
    if cursor.small_number() {
        return Ok(());
    }
    let offset = cursor.at();
    let raw = cursor.skip(depth)?.of(cursor.body());
    let fits = raw.iter().all(u8::is_ascii_digit) && (raw.len() < 10 || (raw.len() == 10 && raw <= b"4294967295".as_slice()));
    if fits {
        return Ok(());
    }
    Err(Box::new(ScanError { offset, kind: ScanErrorKind::WrongType { api, field, expected: WANT } }))
}

fn empty(offset: usize, api: Api, field: &'static str) -> Box<ScanError> {
    Box::new(ScanError { offset, kind: ScanErrorKind::Empty { api, field } })
}

fn wrong_type(cursor: &Cursor<'_>, api: Api, field: &'static str, expected: &'static str) -> Box<ScanError> {
    cursor.fail(ScanErrorKind::WrongType { api, field, expected })
}

/// A string, or nothing if the value has another type.
pub(super) fn text(cursor: &mut Cursor<'_>, depth: u32) -> Result<Option<JsonStr>> {
    if cursor.next()? == b'"' {
        return cursor.string().map(Some);
    }
    cursor.skip(depth)?;
    Ok(None)
}

/// A string or null; anything else is refused.
pub(super) fn string(cursor: &mut Cursor<'_>, api: Api, field: &'static str) -> Result<Option<JsonStr>> {
    match cursor.next()? {
        b'"' | b'n' => text(cursor, FIELD),
        _ => Err(wrong_type(cursor, api, field, "a string")),
    }
}

/// `true`, or anything else.
pub(super) fn flag(cursor: &mut Cursor<'_>, depth: u32) -> Result<bool> {
    Ok(cursor.skip(depth)?.of(cursor.body()) == b"true")
}

/// A boolean or null (false); anything else is refused.
pub(super) fn boolean(cursor: &mut Cursor<'_>, api: Api, field: &'static str) -> Result<bool> {
    match cursor.next()? {
        b't' | b'f' | b'n' => flag(cursor, FIELD),
        _ => Err(wrong_type(cursor, api, field, "a boolean")),
    }
}

/// A whole number ≥ 0, however it is written (`16`, `16.0`, `1.6e1`); anything else is unset.
pub(super) fn count(cursor: &mut Cursor<'_>) -> Result<Option<u64>> {
    let raw = cursor.skip(FIELD)?.of(cursor.body());
    Ok(std::str::from_utf8(raw).ok().and_then(whole_number))
}

/// Saturates at the largest `u64`.
pub(crate) fn whole_number(text: &str) -> Option<u64> {
    // Keeps the float parser's `inf` and `nan` out.
    if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        (number >= 0.0 && number.fract() == 0.0).then_some(number as u64)
    })
}
