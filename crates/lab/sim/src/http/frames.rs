//! How each API's answers look, as one document and as events.

mod anthropic;
mod openai;
mod responses;
mod tokens;

use bytes::BytesMut;
use serde_json::Value;

use super::generate::{Api, Choices};

/// What all parts of a response share.
#[derive(Clone)]
pub(super) struct Head<'a> {
    pub(super) api: Api,
    pub(super) id: &'a str,
    pub(super) created: u64,
    pub(super) model: &'a str,
}

/// Writes the events of a stream, in the order in which the methods are called: for each choice its beginning, its tokens, its end;
/// and once the close.
pub(super) trait Frames: Send {
    /// Before the first token of a choice.
    fn begin(&mut self, out: &mut BytesMut, choices: &Choices, index: usize);
    /// A token that has text.
    fn token(&mut self, out: &mut BytesMut, choices: &Choices, index: usize, token: u32, last: bool);
    /// After the last token of a choice.
    fn end(&mut self, out: &mut BytesMut, choices: &Choices, index: usize);
    /// After all choices. `usage` says that the request wants to know it.
    fn close(&mut self, out: &mut BytesMut, choices: &Choices, usage: bool);
}

pub(super) fn frames(head: &Head<'_>) -> Box<dyn Frames> {
    match head.api {
        Api::Chat | Api::Text => Box::new(openai::Chunks::new(head)),
        Api::Messages => Box::new(anthropic::Messages::new(head)),
        Api::Responses => Box::new(responses::Response::new(head)),
        Api::Tokens => Box::new(tokens::Chunks::new(head)),
    }
}

/// The whole answer, once all of it is there.
pub(super) fn document(head: &Head<'_>, choices: &Choices) -> Value {
    match head.api {
        Api::Chat | Api::Text => openai::document(head, choices),
        Api::Messages => anthropic::document(head, choices),
        Api::Responses => responses::document(head, choices),
        Api::Tokens => tokens::document(head, choices),
    }
}

/// An event with a name, as Anthropic and the responses API have them.
fn event(out: &mut BytesMut, data: &Value) {
    let name = data["type"].as_str().unwrap_or_default();
    out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}
