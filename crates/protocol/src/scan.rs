//! What routing needs from a request body, found in one pass.

#[cfg(test)]
mod against_serde;
#[cfg(test)]
mod chunks;
mod error;
mod part;
mod reader;
mod scanner;
mod slot;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::{
    error::{ScanError, ScanErrorKind},
    scanner::Scanner,
};
use crate::{
    api::Api,
    json::{JsonStr, Span},
    segment::{Piece, Segment},
};

/// Sections of a prompt, in the order in which they count, wherever they stand in the body.
const TOOLS: usize = 0;
const SYSTEM: usize = 1;
const PROMPT: usize = 2;

/// The result of [`scan`]: spans into the body plus the few decoded scalars. Reuse it between
/// requests; once its list has grown, scanning allocates nothing.
///
/// Accessors that take `body` want the very bytes that were scanned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    api: Api,
    model: Option<JsonStr>,
    model_value: Option<Span>,
    cache_salt: Option<JsonStr>,
    user: Option<JsonStr>,
    stream: bool,
    include_usage: bool,
    ignore_eos: bool,
    n: Option<u64>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    tools: u32,
    messages: u32,
    prompts: u32,
    /// Offset behind the opening brace, and whether a field follows.
    fields: (u32, bool),
    segments: Vec<Segment>,
    /// Where each section lies among the segments; they fill the list.
    sections: [(u32, u32); 3],
}

/// Reads `body` as a request to `api`, checking that it is well-formed JSON (RFC 8259), or gRPC messages, as a whole.
///
/// Of a repeated key the last one counts. Escaped lone surrogates (`"\ud800"`) are accepted, as
/// most readers do, and decode to U+FFFD; the engine has the last word on them. Numbers of any
/// size are well-formed. After an error `out` is in an unspecified, valid state. [`Scanner`] does the same
/// while a body arrives.
///
/// # Errors
/// A malformed document, more than 128 levels of nesting, a missing or empty prompt, or `model`,
/// `stream`, `messages`, `prompt`, `input` … of a wrong type. Limits such as `max_tokens` that are
/// not whole numbers ≥ 0 read as unset: engines differ in what they accept there.
pub fn scan(api: Api, body: &[u8], out: &mut Scanned) -> Result<(), ScanError> {
    let mut scanner = Scanner::reusing(api, std::mem::take(out));
    let result = scanner.finish(body);
    *out = scanner.into_scanned();
    result
}

impl Scanned {
    /// Forgets the last request and keeps the memory.
    pub fn clear(&mut self) {
        let mut segments = std::mem::take(&mut self.segments);
        segments.clear();
        *self = Self { segments, ..Self::default() };
    }

    /// The API given to [`scan()`].
    pub fn api(&self) -> Api {
        self.api
    }

    /// The requested model; `None` if absent, null or empty.
    pub fn model<'b>(&self, body: &'b [u8]) -> Option<Cow<'b, str>> {
        self.model.filter(|model| !model.span.is_empty()).map(|model| model.decode(body))
    }

    /// Where the value of `model` stands: a string with its quotes, or `null`.
    pub fn model_span(&self) -> Option<Span> {
        self.model_value
    }

    /// Whether the answer is to be streamed.
    pub fn stream(&self) -> bool {
        self.stream
    }

    /// `stream_options.include_usage`.
    pub fn include_usage(&self) -> bool {
        self.include_usage
    }

    /// The most tokens to generate: `max_completion_tokens`, else `max_tokens`
    /// (`max_output_tokens` in the responses API).
    pub fn max_tokens(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// How many choices are asked for, if the request says so.
    pub fn n(&self) -> Option<u64> {
        self.n
    }

    /// vLLM's `ignore_eos`.
    pub fn ignore_eos(&self) -> bool {
        self.ignore_eos
    }

    /// vLLM's `cache_salt`: requests share cached blocks only under the same salt.
    pub fn cache_salt<'b>(&self, body: &'b [u8]) -> Option<Cow<'b, str>> {
        self.cache_salt.map(|salt| salt.decode(body))
    }

    /// The `user` field.
    pub fn user<'b>(&self, body: &'b [u8]) -> Option<Cow<'b, str>> {
        self.user.map(|user| user.decode(body))
    }

    /// Number of tools offered to the model.
    pub fn tools(&self) -> u32 {
        self.tools
    }

    /// Number of chat messages.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// Number of prompts; 1 for a chat.
    pub fn prompts(&self) -> u32 {
        self.prompts
    }

    /// The prompt in the order in which its tokens are estimated: tools, instructions, then
    /// each message's role and parts, or the prompts with [`Segment::PromptBreak`] between them.
    /// Tools and instructions belong to every prompt. Empty if nothing of the request is computed ([`Api::computes`]).
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Gives the prompt to `f`, decoded, piece by piece. No allocation.
    pub fn pieces(&self, body: &[u8], f: &mut impl FnMut(Piece<'_>)) {
        for segment in self.segments() {
            segment.pieces(body, f);
        }
    }

    /// Gives only the text of the prompt to `f`: what [`Scanned::pieces`] gives as bytes.
    pub fn text_chunks(&self, body: &[u8], f: &mut impl FnMut(&[u8])) {
        self.pieces(body, &mut |piece| {
            if let Piece::Bytes(bytes) = piece {
                f(bytes);
            }
        });
    }

    pub(crate) fn fields(&self) -> (usize, bool) {
        (self.fields.0 as usize, self.fields.1)
    }

    pub(crate) fn segments_mut(&mut self) -> &mut Vec<Segment> {
        &mut self.segments
    }

    pub(crate) fn set_stream(&mut self, stream: bool) {
        self.stream = stream;
    }

    /// Those limits that are given.
    pub(crate) fn set_limits(&mut self, max_tokens: Option<u64>, ignore_eos: Option<bool>, n: Option<u64>) {
        self.max_tokens = max_tokens.or(self.max_tokens);
        self.ignore_eos = ignore_eos.unwrap_or(self.ignore_eos);
        self.n = n.or(self.n);
    }

    /// All segments are one prompt.
    pub(crate) fn count_prompt(&mut self) {
        self.prompts = u32::from(!self.segments.is_empty());
    }

    fn set(&mut self, place: usize, segment: Segment) {
        if let Some(slot) = self.segments.get_mut(place) {
            *slot = segment;
        }
    }

    /// What is appended from here on belongs to `section`; what it had is forgotten.
    fn open_section(&mut self, section: usize) {
        let (start, end) = self.sections[section];
        if start < end {
            self.segments.drain(start as usize..end as usize);
            for other in &mut self.sections {
                if other.0 >= end {
                    *other = (other.0 - (end - start), other.1 - (end - start));
                }
            }
        }
        let len = self.segments.len() as u32;
        self.sections[section] = (len, len);
    }

    fn close_section(&mut self, section: usize) {
        self.sections[section].1 = self.segments.len() as u32;
    }

    /// The last look at a request that was read to its end.
    fn complete(&mut self, len: usize) -> Result<(), ScanError> {
        if self.prompts == 0 && self.api != Api::CountTokens {
            let (api, field) = (self.api, self.api.prompt_field());
            return Err(ScanError { offset: len, kind: ScanErrorKind::Missing { api, field } });
        }
        if !self.api.computes() {
            self.segments.clear();
            return Ok(());
        }
        for section in [SYSTEM, TOOLS] {
            let (start, end) = self.sections[section];
            if 0 < start && start < end {
                self.segments[..end as usize].rotate_right((end - start) as usize);
                for other in &mut self.sections {
                    if other.0 < start {
                        *other = (other.0 + (end - start), other.1 + (end - start));
                    }
                }
                self.sections[section] = (0, end - start);
            }
        }
        Ok(())
    }
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
