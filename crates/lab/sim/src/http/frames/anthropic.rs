//! Anthropic's messages, as vLLM serves them.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Frames, Head, event};
use crate::{
    answer::{Answer, Finish},
    http::generate::Choices,
};

fn usage(choices: &Choices, output: Option<u64>) -> Value {
    let counts = choices.counts();
    json!({
        "input_tokens": counts.prompt, "output_tokens": output.unwrap_or(counts.completion),
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": counts.cached.unwrap_or(0),
    })
}

fn stop_reason(answer: &Answer) -> &'static str {
    match (answer.finish, &answer.stopped_by) {
        (_, Some(_)) => "stop_sequence",
        (Finish::Stop, None) => "end_turn",
        (Finish::Length, None) => "max_tokens",
    }
}

pub(super) fn document(head: &Head<'_>, choices: &Choices) -> Value {
    let answer = &choices.list[0].answer;
    json!({
        "id": format!("msg_{}", head.id), "type": "message", "role": "assistant", "model": head.model,
        "content": [{"type": "text", "text": answer.text()}],
        "stop_reason": stop_reason(answer), "stop_sequence": answer.stopped_by, "usage": usage(choices, None),
    })
}

/// One message with one block of text.
pub(super) struct Messages {
    start: Value,
}

impl Messages {
    pub(super) fn new(head: &Head<'_>) -> Self {
        let message = json!({
            "id": format!("msg_{}", head.id), "type": "message", "role": "assistant", "model": head.model, "content": [],
            "stop_reason": null, "stop_sequence": null,
        });
        Self { start: json!({"type": "message_start", "message": message}) }
    }
}

impl Frames for Messages {
    fn begin(&mut self, out: &mut BytesMut, choices: &Choices, _: usize) {
        self.start["message"]["usage"] = usage(choices, Some(0));
        event(out, &self.start);
        event(out, &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}));
        event(out, &json!({"type": "ping"}));
    }

    fn token(&mut self, out: &mut BytesMut, choices: &Choices, index: usize, token: u32, _: bool) {
        let text = choices.list[index].answer.piece(token);
        event(out, &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}));
    }

    fn end(&mut self, out: &mut BytesMut, choices: &Choices, index: usize) {
        let answer = &choices.list[index].answer;
        event(out, &json!({"type": "content_block_stop", "index": 0}));
        event(
            out,
            &json!({
                "type": "message_delta",
                "delta": {"stop_reason": stop_reason(answer), "stop_sequence": answer.stopped_by},
                "usage": {"output_tokens": choices.counts().completion},
            }),
        );
    }

    fn close(&mut self, out: &mut BytesMut, _: &Choices, _: bool) {
        event(out, &json!({"type": "message_stop"}));
    }
}
