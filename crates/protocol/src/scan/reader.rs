//! Takes from a document what routing needs, as its values go by.

use super::{
    PROMPT, SYSTEM, ScanError, ScanErrorKind, Scanned, TOOLS,
    part::{MAX_NESTED, Part},
    slot::{self, Slot},
};
use crate::{
    api::{Api, Shape},
    json::{JsonStr, Result, Scalar, Span, Type, Visitor},
    segment::Segment,
};

/// Containers that are looked into lie at most this deep: request, `messages`, message, `content`, part, `content`, part, `source`.
const MAX_FRAMES: usize = 10;

/// Longest key that is compared when it is written with escapes.
const KEY_BUFFER: usize = 32;

/// An open container.
#[derive(Debug, Clone, Copy)]
struct Frame {
    slot: Slot,
    at: u32,
    object: bool,
}

/// What the elements of a list of prompts are; the first one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Elements {
    None,
    Prompts,
    Ids,
}

#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) out: Scanned,
    pub(super) not_an_object: bool,
    frames: [Frame; MAX_FRAMES],
    open: usize,
    /// Where the value of the last key stands.
    keyed: Slot,
    /// The value that was begun last.
    value: (Slot, usize),
    elements: Elements,
    /// The field that carries the prompt, as this request names it.
    field: &'static str,
    /// Place of the message's role among the segments.
    role: usize,
    /// Parts, one in the other.
    parts: [Part; MAX_NESTED],
    nested: usize,
}

impl Reader {
    pub(super) fn new(api: Api, mut out: Scanned) -> Self {
        out.clear();
        out.api = api;
        Self {
            out,
            not_an_object: false,
            frames: [Frame { slot: Slot::Ignored, at: 0, object: false }; MAX_FRAMES],
            open: 0,
            keyed: Slot::Top,
            value: (Slot::Ignored, 0),
            elements: Elements::None,
            field: api.prompt_field(),
            role: 0,
            parts: [Part::default(); MAX_NESTED],
            nested: 0,
        }
    }

    fn container(&self) -> Option<Frame> {
        self.open.checked_sub(1).map(|last| self.frames[last])
    }

    fn wrong_type(&self, at: usize, field: &'static str, expected: &'static str) -> Box<ScanError> {
        Box::new(ScanError { offset: at, kind: ScanErrorKind::WrongType { api: self.out.api, field, expected } })
    }

    fn empty(&self, at: usize) -> Box<ScanError> {
        Box::new(ScanError { offset: at, kind: ScanErrorKind::Empty { api: self.out.api, field: self.field } })
    }

    fn forget_prompt(&mut self) {
        self.out.open_section(PROMPT);
        (self.out.messages, self.out.prompts) = (0, 0);
    }

    /// Of a repeated key the last one counts, whatever its value is.
    fn forget(&mut self, slot: Slot) {
        let out = &mut self.out;
        match slot {
            Slot::Model => out.model = None,
            Slot::Stream => out.stream = false,
            Slot::MaxTokens => out.max_tokens = None,
            Slot::MaxCompletionTokens => out.max_completion_tokens = None,
            Slot::Choices => out.n = None,
            Slot::IgnoreEos => out.ignore_eos = false,
            Slot::CacheSalt => out.cache_salt = None,
            Slot::User => out.user = None,
            Slot::StreamOptions | Slot::IncludeUsage => out.include_usage = false,
            Slot::Tools => {
                out.tools = 0;
                out.open_section(TOOLS);
            }
            Slot::Instructions | Slot::System => out.open_section(SYSTEM),
            Slot::Role => out.set(self.role, Segment::EMPTY),
            Slot::PartType => self.part().kind = None,
            Slot::PartText => self.part().text = None,
            Slot::Media(_) => self.part().media = None,
            Slot::Source => self.part().source = None,
            Slot::ToolName => self.part().name = None,
            Slot::ToolInput => self.part().input = None,
            _ => {}
        }
    }

    fn part(&mut self) -> &mut Part {
        &mut self.parts[self.nested.saturating_sub(1)]
    }

    /// A list of prompts or ids, or one prompt.
    fn begin_prompts(&mut self, value: Type, at: usize) -> Result<bool> {
        let shape = self.out.api.shape();
        self.elements = Elements::None;
        match value {
            Type::Null if self.out.messages == 0 => self.forget_prompt(),
            Type::Null => {}
            Type::String if shape != Shape::VllmGenerate => self.forget_prompt(),
            Type::Array if shape != Shape::Images => self.forget_prompt(),
            _ => return Err(self.wrong_type(at, self.field, self.expected_prompt())),
        }
        Ok(true)
    }

    fn expected_prompt(&self) -> &'static str {
        match self.out.api.shape() {
            Shape::VllmGenerate => "a list of token ids",
            Shape::Images => "a string",
            _ => "a string, a list of strings or token ids",
        }
    }

    fn begin_prompt(&mut self, value: Type, at: usize) -> Result<bool> {
        let shape = self.out.api.shape();
        let kind = if value == Type::Number { Elements::Ids } else { Elements::Prompts };
        let fits = self.elements == Elements::None || self.elements == kind;
        let allowed = match value {
            Type::Number => true,
            Type::String => shape != Shape::VllmGenerate,
            Type::Array => shape != Shape::VllmGenerate,
            // Embedding models take objects with text and images.
            Type::Object => shape == Shape::Embeddings,
            _ => false,
        };
        if !fits || !allowed {
            return Err(self.wrong_type(at, self.field, self.expected_prompt()));
        }
        if kind == Elements::Prompts {
            if self.elements == Elements::Prompts {
                self.out.segments.push(Segment::PromptBreak);
            }
            self.out.prompts += 1;
        }
        self.elements = kind;
        self.value.0 = match value {
            Type::Number => Slot::Id,
            Type::Array => Slot::Ids,
            _ => Slot::Prompt,
        };
        Ok(value == Type::Array)
    }

    fn token_id(&self, body: &[u8], raw: Span) -> Result<()> {
        let digits = raw.of(body);
        let small = digits.len() < 10 || (digits.len() == 10 && digits <= b"4294967295".as_slice());
        if small && digits.iter().all(u8::is_ascii_digit) { Ok(()) } else { Err(self.bad_id(raw.start as usize)) }
    }

    fn bad_id(&self, at: usize) -> Box<ScanError> {
        self.wrong_type(at, self.field, "token ids (whole numbers from 0 to 4294967295)")
    }

    /// Text that stands where a part may stand, or alone.
    fn content(&mut self, text: JsonStr) {
        self.out.segments.push(Segment::Text(text));
    }

    fn end_messages(&mut self, at: usize) -> Result<()> {
        if self.out.messages == 0 {
            return Err(self.empty(at));
        }
        self.out.prompts = 1;
        self.out.close_section(PROMPT);
        Ok(())
    }
}

impl Visitor for Reader {
    fn begin(&mut self, value: Type, at: usize) -> Result<bool> {
        let container = self.container();
        let slot = match container {
            None => Slot::Top,
            Some(Frame { object: true, .. }) => self.keyed,
            Some(Frame { slot, .. }) => slot::of_element(slot),
        };
        self.value = (slot, at);
        let is_list = value == Type::Array;
        let is_object = value == Type::Object;
        self.forget(slot);
        let look = match slot {
            Slot::Top => {
                self.not_an_object = !is_object;
                self.out.fields.0 = at as u32 + 1;
                is_object
            }
            Slot::Model if !matches!(value, Type::String | Type::Null) => {
                return Err(self.wrong_type(at, "model", "a string"));
            }
            Slot::Stream if !matches!(value, Type::True | Type::False | Type::Null) => {
                return Err(self.wrong_type(at, "stream", "a boolean"));
            }
            Slot::StreamOptions | Slot::Sampling | Slot::Metadata | Slot::Media(_) | Slot::Source => is_object,
            Slot::Tools | Slot::System => is_list,
            Slot::Messages => match value {
                Type::Array => {
                    self.forget_prompt();
                    true
                }
                Type::Null => {
                    if self.out.messages > 0 {
                        self.forget_prompt();
                    }
                    false
                }
                _ => return Err(self.wrong_type(at, "messages", "a list of messages")),
            },
            Slot::Message => {
                if !is_object {
                    return Err(self.wrong_type(at, "messages", "a list of objects"));
                }
                self.out.messages += 1;
                self.role = self.out.segments.len();
                self.out.segments.push(Segment::EMPTY);
                true
            }
            Slot::Content => match container {
                // A repeated `content` replaces the first.
                Some(Frame { slot: Slot::Message, .. }) => {
                    self.out.segments.truncate(self.role + 1);
                    is_list
                }
                _ => {
                    let start = self.part().start;
                    self.out.segments.truncate(start);
                    is_list && self.nested < MAX_NESTED
                }
            },
            Slot::Part => {
                if is_object {
                    self.nested += 1;
                    *self.part() = Part { start: self.out.segments.len(), ..Part::default() };
                }
                is_object
            }
            Slot::Prompts => self.begin_prompts(value, at)?,
            Slot::Prompt => self.begin_prompt(value, at)?,
            Slot::Id if value == Type::Number => false,
            Slot::Ids | Slot::Id => return Err(self.bad_id(at)),
            Slot::Whole => {
                self.forget_prompt();
                let list_only = self.out.api.shape() == Shape::Conversations;
                if !(is_list || value == Type::Null || (value == Type::String && !list_only)) {
                    let expected = if list_only { "a list" } else { "a string or a list" };
                    return Err(self.wrong_type(at, self.field, expected));
                }
                false
            }
            _ => false,
        };
        if is_list || is_object {
            let slot = self.value.0;
            self.frames[self.open] = Frame { slot, at: at as u32, object: is_object };
            self.open += 1;
        }
        Ok(look)
    }

    fn key(&mut self, body: &[u8], key: JsonStr) {
        let Some(container) = self.container() else { return };
        let mut buffer = [0; KEY_BUFFER];
        // A longer escaped key is none that anybody asks for.
        let key = key.short(body, &mut buffer).unwrap_or_default();
        self.keyed = slot::of_key(container.slot, key, self.out.api);
        if container.slot == Slot::Top {
            self.out.fields.1 = true;
            // SGLang's prompt has two names.
            if self.keyed == Slot::Prompts {
                self.field = if key == b"text" { "text" } else { self.out.api.prompt_field() };
            }
        }
    }

    fn scalar(&mut self, body: &[u8], scalar: Scalar) -> Result<()> {
        let (slot, at) = self.value;
        match scalar {
            Scalar::Text(text) => self.text(slot, at, text),
            Scalar::Other(raw) => self.plain(slot, body, raw),
        }
    }

    fn end(&mut self, body: &[u8], end: usize) -> Result<()> {
        self.open -= 1;
        let Frame { slot, at, object } = self.frames[self.open];
        let at = at as usize;
        let whole = Segment::Json(Span::new(at, end));
        match slot {
            Slot::Tool => self.out.tools += 1,
            Slot::Tools => {
                if self.out.tools > 0 {
                    self.out.segments.push(whole);
                }
                self.out.close_section(TOOLS);
            }
            Slot::Instructions => {
                self.out.segments.push(whole);
                self.out.close_section(SYSTEM);
            }
            Slot::System => self.out.close_section(SYSTEM),
            Slot::Messages => return self.end_messages(at),
            Slot::Part if object => {
                let in_system = self.container().is_some_and(|frame| frame.slot == Slot::System);
                let part = *self.part();
                self.nested -= 1;
                part.emit(body, in_system, self.out.api, &mut self.out.segments);
            }
            Slot::ToolInput => self.part().input = Some(Span::new(at, end)),
            Slot::Prompts => {
                match self.elements {
                    Elements::None => return Err(self.empty(at)),
                    Elements::Prompts => {}
                    Elements::Ids => {
                        self.out.prompts = 1;
                        self.out.segments.push(Segment::TokenIds(Span::new(at, end)));
                    }
                }
                self.out.close_section(PROMPT);
            }
            Slot::Ids => self.out.segments.push(Segment::TokenIds(Span::new(at, end))),
            Slot::Prompt => self.out.segments.push(whole),
            Slot::Whole => {
                self.out.segments.push(whole);
                self.out.prompts = 1;
                self.out.close_section(PROMPT);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Reader {
    fn text(&mut self, slot: Slot, at: usize, text: JsonStr) -> Result<()> {
        let raw = Span::new(at, text.span.end as usize + 1);
        match slot {
            Slot::Model => {
                self.out.model = Some(text);
                self.out.model_value = Some(raw);
            }
            Slot::CacheSalt => self.out.cache_salt = Some(text),
            Slot::User => self.out.user = Some(text),
            Slot::Tool => self.out.tools += 1,
            Slot::Instructions => {
                self.out.segments.push(Segment::Json(raw));
                self.out.close_section(SYSTEM);
            }
            Slot::System => {
                self.content(text);
                self.out.close_section(SYSTEM);
            }
            Slot::Role => self.out.set(self.role, Segment::Text(text)),
            Slot::Content | Slot::Part | Slot::Prompt => self.content(text),
            Slot::PartType => self.part().kind = Some(text),
            Slot::PartText => self.part().text = Some(text),
            Slot::ToolName => self.part().name = Some(text),
            Slot::Media(kind) => self.part().media = Some(Segment::Media { kind, reference: text }),
            Slot::MediaReference => {
                if let Some(Frame { slot: Slot::Media(kind), .. }) = self.container() {
                    self.part().media = Some(Segment::Media { kind, reference: text });
                }
            }
            Slot::SourceData => self.part().source = Some(text),
            Slot::Prompts => {
                let may_be_empty = matches!(self.out.api.shape(), Shape::Embeddings);
                if text.span.is_empty() && !may_be_empty {
                    return Err(self.empty(at));
                }
                self.content(text);
                self.out.prompts = 1;
                self.out.close_section(PROMPT);
            }
            Slot::Whole => {
                self.out.segments.push(Segment::Json(raw));
                self.out.prompts = 1;
                self.out.close_section(PROMPT);
            }
            _ => {}
        }
        Ok(())
    }

    fn plain(&mut self, slot: Slot, body: &[u8], raw: Span) -> Result<()> {
        let is_true = || raw.of(body) == b"true";
        match slot {
            Slot::Model => self.out.model_value = Some(raw),
            Slot::Stream => self.out.stream = is_true(),
            Slot::IncludeUsage => self.out.include_usage = is_true(),
            Slot::IgnoreEos => self.out.ignore_eos = is_true(),
            Slot::MaxTokens => self.out.max_tokens = count(body, raw),
            Slot::MaxCompletionTokens => self.out.max_completion_tokens = count(body, raw),
            Slot::Choices => self.out.n = count(body, raw),
            Slot::Tool => self.out.tools += 1,
            Slot::Instructions if raw.of(body) != b"null" => {
                self.out.segments.push(Segment::Json(raw));
                self.out.close_section(SYSTEM);
            }
            Slot::Id => return self.token_id(body, raw),
            _ => {}
        }
        Ok(())
    }
}

/// A whole number ≥ 0, however it is written (`16`, `16.0`, `1.6e1`); anything else is unset.
fn count(body: &[u8], raw: Span) -> Option<u64> {
    std::str::from_utf8(raw.of(body)).ok().and_then(super::whole_number)
}
