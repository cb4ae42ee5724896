//! What routing needs from a request body, found in one pass.

#[cfg(test)]
mod against_serde;
mod error;
pub(crate) mod prompt;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::error::{ScanError, ScanErrorKind};
use crate::{
    json::{Cursor, JsonStr, Result, Span},
    route::Api,
    scan::prompt::{boolean, count, flag, string, text},
    segment::{Piece, Segment},
};

/// `segments` starts with a place each for tools and instructions, because both come before the
/// prompt wherever they stand in the body.
const RESERVED: usize = 2;
const TOOLS: usize = 0;
const INSTRUCTIONS: usize = 1;

/// The result of [`scan`]: spans into the body plus the few decoded scalars. Reuse it between
/// requests; once its list has grown, scanning allocates nothing.
///
/// Accessors that take `body` want the very bytes that were scanned.
#[derive(Debug, Clone, Default)]
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
}

/// Scans `body` as a request to `api`, checking that it is well-formed JSON (RFC 8259) as a whole.
///
/// Of a repeated key the last one counts. Escaped lone surrogates (`"\ud800"`) are accepted, as
/// most readers do, and decode to U+FFFD; the engine has the last word on them. Numbers of any
/// size are well-formed. After an error `out` is in an unspecified, valid state.
///
/// # Errors
/// Malformed JSON, more than 128 levels of nesting, a missing or empty prompt, or `model`,
/// `stream`, `messages`, `prompt`, `input` of a wrong type. Limits such as `max_tokens` that are
/// not whole numbers ≥ 0 read as unset: engines differ in what they accept there.
pub fn scan(api: Api, body: &[u8], out: &mut Scanned) -> std::result::Result<(), ScanError> {
    out.clear();
    out.api = api;
    out.segments.resize(RESERVED, Segment::EMPTY);
    check_bytes(body)?;
    read(body, out).map_err(|error| *error)
}

fn check_bytes(body: &[u8]) -> std::result::Result<(), ScanError> {
    if u32::try_from(body.len()).is_err() {
        return Err(ScanError { offset: 0, kind: ScanErrorKind::TooLarge });
    }
    simdutf8::compat::from_utf8(body)
        .map(drop)
        .map_err(|error| ScanError { offset: error.valid_up_to(), kind: ScanErrorKind::InvalidUtf8 })
}

fn read(body: &[u8], out: &mut Scanned) -> Result<()> {
    let mut cursor = Cursor::new(body);
    if cursor.next()? != b'{' {
        cursor.skip(0)?;
        cursor.end()?;
        return Err(Box::new(ScanError { offset: 0, kind: ScanErrorKind::NotAnObject }));
    }
    out.fields.0 = cursor.at() as u32 + 1;
    cursor.object(1, |cursor, key| {
        out.fields.1 = true;
        out.field(cursor, key)
    })?;
    cursor.end()?;
    if out.prompts == 0 {
        let (api, field) = (out.api, out.api.prompt_field());
        return Err(cursor.fail(ScanErrorKind::Missing { api, field }));
    }
    Ok(())
}

impl Scanned {
    /// Forgets the last request and keeps the memory.
    pub fn clear(&mut self) {
        let mut segments = std::mem::take(&mut self.segments);
        segments.clear();
        *self = Self { segments, ..Self::default() };
    }

    /// The API given to [`scan`].
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
    /// Tools and instructions belong to every prompt, and places without either are empty.
    pub fn segments(&self) -> &[Segment] {
        let empty = |at: usize| self.segments.get(at).is_none_or(|&s| s == Segment::EMPTY);
        let start = if !empty(TOOLS) { TOOLS } else { RESERVED - usize::from(!empty(INSTRUCTIONS)) };
        self.segments.get(start..).unwrap_or_default()
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

    fn field(&mut self, cursor: &mut Cursor<'_>, key: &[u8]) -> Result<()> {
        use Api::{ChatCompletions, Completions, Embeddings, Responses};
        let api = self.api;
        match (key, api) {
            (b"model", _) => {
                cursor.next()?;
                let start = cursor.at();
                self.model = string(cursor, api, "model")?;
                self.model_value = Some(Span::new(start, cursor.at()));
            }
            (b"stream", _) => self.stream = boolean(cursor, api, "stream")?,
            (b"max_tokens", ChatCompletions | Completions) => self.max_tokens = count(cursor)?,
            (b"max_completion_tokens", ChatCompletions) => {
                self.max_completion_tokens = count(cursor)?;
            }
            (b"max_output_tokens", Responses) => self.max_tokens = count(cursor)?,
            (b"n", _) => self.n = count(cursor)?,
            (b"ignore_eos", _) => self.ignore_eos = flag(cursor, 1)?,
            (b"cache_salt", _) => self.cache_salt = text(cursor, 1)?,
            (b"user", _) => self.user = text(cursor, 1)?,
            (b"stream_options", _) => self.stream_options(cursor)?,
            (b"tools", ChatCompletions | Responses) => self.read_tools(cursor)?,
            (b"instructions", Responses) => self.read_instructions(cursor)?,
            (b"messages", ChatCompletions | Embeddings) => self.read_messages(cursor)?,
            (b"prompt", Completions) | (b"input", Embeddings) => self.read_prompts(cursor)?,
            (b"input", Responses) => self.read_input(cursor)?,
            _ => {
                cursor.skip(1)?;
            }
        }
        Ok(())
    }
}
