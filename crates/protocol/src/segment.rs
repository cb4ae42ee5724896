//! The prompt as an ordered list of spans.

use crate::{
    grpc::varint,
    json::{JsonStr, Span},
};

/// One stretch of a prompt, in the scanned body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Segment {
    /// JSON whose bytes count as they stand: tools, or the whole input of the responses API.
    Json(Span),
    /// A role, a text part or a whole prompt. May be empty.
    Text(JsonStr),
    /// An image, a video or a sound.
    Media {
        /// Which.
        kind: MediaKind,
        /// Its URL (often a data URL) or its base64 data (`input_audio`, Anthropic's sources).
        reference: JsonStr,
    },
    /// A prompt that is tokenized already: a JSON array of numbers, brackets included.
    TokenIds(Span),
    /// A stretch of a prompt that is tokenized already: protobuf's packed `uint32`.
    PackedIds(Span),
    /// What follows belongs to the next prompt of the request.
    PromptBreak,
}

/// What a media part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MediaKind {
    /// `image_url`, Anthropic's `image`
    Image,
    /// `video_url`
    Video,
    /// `audio_url`, `input_audio`
    Audio,
}

/// A decoded piece of a prompt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Piece<'b> {
    /// The next bytes of text; never empty. They borrow from the body, or hold a
    /// few hundred bytes gathered around escapes.
    Bytes(&'b [u8]),
    /// A media part.
    Media {
        /// What it holds.
        kind: MediaKind,
        /// Its URL or data, to be decoded by who wants it.
        reference: JsonStr,
    },
    /// A prompt of token ids.
    TokenIds(TokenIds<'b>),
    /// The next prompt begins.
    PromptBreak,
}

impl Segment {
    pub(crate) const EMPTY: Self = Self::Text(JsonStr::plain(Span { start: 0, end: 0 }));

    /// Gives the decoded segment to `f`; text with escapes in several pieces.
    pub fn pieces(&self, body: &[u8], f: &mut impl FnMut(Piece<'_>)) {
        match *self {
            Self::Json(span) => f(Piece::Bytes(span.of(body))),
            Self::Text(text) => text.chunks(body, &mut |chunk| f(Piece::Bytes(chunk))),
            Self::Media { kind, reference } => f(Piece::Media { kind, reference }),
            Self::TokenIds(span) => f(Piece::TokenIds(TokenIds { rest: span.of(body), packed: false })),
            Self::PackedIds(span) => f(Piece::TokenIds(TokenIds { rest: span.of(body), packed: true })),
            Self::PromptBreak => f(Piece::PromptBreak),
        }
    }
}

/// The ids of a tokenized prompt, read from its JSON array or from its packed field.
#[derive(Debug, Clone)]
pub struct TokenIds<'b> {
    rest: &'b [u8],
    packed: bool,
}

impl TokenIds<'_> {
    /// How many are left, which costs less than reading them.
    pub fn left(&self) -> usize {
        if self.packed {
            // The last byte of each number has its high bit clear.
            return count(self.rest, |byte| byte < 0x80);
        }
        let Some(first) = self.rest.iter().position(u8::is_ascii_digit) else { return 0 };
        // What the scanner let pass has a comma between any two numbers.
        1 + count(&self.rest[first..], |byte| byte == b',')
    }
}

/// How many bytes are such, many at a time.
fn count(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    // A byte can count to 255.
    bytes.chunks(255).map(|some| usize::from(some.iter().fold(0_u8, |sum, &byte| sum + u8::from(is(byte))))).sum()
}

impl Iterator for TokenIds<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.packed {
            let (id, len) = varint(self.rest)?;
            self.rest = &self.rest[len..];
            return Some(id as u32);
        }
        let start = self.rest.iter().position(u8::is_ascii_digit)?;
        let digits = &self.rest[start..];
        let len = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
        self.rest = &digits[len..];
        let id = digits[..len].iter().fold(0u32, |id, digit| id.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')));
        Some(id)
    }
}
