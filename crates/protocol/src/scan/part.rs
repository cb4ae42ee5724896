//! One part of a message's content.

use crate::{
    api::{Api, Shape},
    json::{JsonStr, Span},
    segment::{MediaKind, Segment},
};

/// Parts inside parts: what a tool answered may itself be a list of parts.
pub(super) const MAX_NESTED: usize = 2;

/// What is known of a part. Its keys come in any order, so it is judged at its end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    /// Where its own segments begin.
    pub(super) start: usize,
    pub(super) kind: Option<JsonStr>,
    pub(super) text: Option<JsonStr>,
    pub(super) media: Option<Segment>,
    /// Anthropic's media data or URL.
    pub(super) source: Option<JsonStr>,
    pub(super) name: Option<JsonStr>,
    pub(super) input: Option<Span>,
}

impl Part {
    /// Appends what it contributes to the prompt. A part of an unknown type counts by its text.
    pub(super) fn emit(self, body: &[u8], in_system: bool, api: Api, out: &mut Vec<Segment>) {
        let Self { kind, text, media, source, name, input, .. } = self;
        let kind = kind.map_or(&b""[..], |kind| kind.span.of(body));
        // Claude Code's first block differs from request to request and is no part of the prompt.
        let is_billing = |text: JsonStr| in_system && text.span.of(body).starts_with(b"x-anthropic-billing-header");
        let words = text.filter(|text| !is_billing(*text)).map(Segment::Text);
        if api.shape() != Shape::Messages {
            out.extend(if kind.ends_with(b"text") { words.or(media) } else { media.or(words) });
            return;
        }
        out.extend(words);
        out.extend(source.map(|reference| {
            if kind == b"image" { Segment::Media { kind: MediaKind::Image, reference } } else { Segment::Text(reference) }
        }));
        if let Some(input) = input {
            out.extend(name.map(Segment::Text));
            out.push(Segment::Json(input));
        }
    }
}
