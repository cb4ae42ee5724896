//! OpenAI's responses, one message of text each.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Frames, Head, event};
use crate::{answer::Finish, http::generate::Choices};

fn base(head: &Head<'_>, status: &str) -> Value {
    json!({
        "id": format!("resp_{}", head.id), "object": "response", "created_at": head.created, "status": status, "model": head.model,
        "output": [], "text": {"format": {"type": "text"}}, "parallel_tool_calls": true, "tool_choice": "auto", "tools": [],
        "error": null, "incomplete_details": null, "instructions": null, "metadata": null, "temperature": null, "top_p": null,
        "usage": null,
    })
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn item(id: &str, status: &str, content: &[Value]) -> Value {
    json!({"id": id, "type": "message", "role": "assistant", "status": status, "content": content})
}

fn item_id(head: &Head<'_>) -> String {
    format!("msg_{}", head.id)
}

/// Turns the answer to a request that has just begun into the complete one.
fn complete(mut response: Value, item_id: &str, choices: &Choices) -> Value {
    let answer = &choices.list[0].answer;
    let counts = choices.counts();
    if answer.finish == Finish::Length {
        response["status"] = json!("incomplete");
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    } else {
        response["status"] = json!("completed");
    }
    response["output"] = json!([item(item_id, "completed", &[part(answer.text())])]);
    response["usage"] = json!({
        "input_tokens": counts.prompt, "input_tokens_details": {"cached_tokens": counts.cached.unwrap_or(0)},
        "output_tokens": counts.completion, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.prompt + counts.completion,
    });
    response
}

pub(super) fn document(head: &Head<'_>, choices: &Choices) -> Value {
    complete(base(head, "in_progress"), &item_id(head), choices)
}

pub(super) struct Response {
    response: Value,
    item_id: String,
    sequence: u64,
}

impl Response {
    pub(super) fn new(head: &Head<'_>) -> Self {
        Self { response: base(head, "in_progress"), item_id: item_id(head), sequence: 0 }
    }

    fn write(&mut self, out: &mut BytesMut, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        event(out, &data);
    }

    /// An event about the one part of the one item.
    fn about_part(&mut self, out: &mut BytesMut, kind: &str, mut data: Value) {
        data["item_id"] = json!(self.item_id);
        data["output_index"] = json!(0);
        data["content_index"] = json!(0);
        self.write(out, kind, data);
    }
}

impl Frames for Response {
    fn begin(&mut self, out: &mut BytesMut, _: &Choices, _: usize) {
        for kind in ["response.created", "response.in_progress"] {
            let data = json!({"response": self.response});
            self.write(out, kind, data);
        }
        let item = item(&self.item_id, "in_progress", &[]);
        self.write(out, "response.output_item.added", json!({"output_index": 0, "item": item}));
        self.about_part(out, "response.content_part.added", json!({"part": part("")}));
    }

    fn token(&mut self, out: &mut BytesMut, choices: &Choices, index: usize, token: u32, _: bool) {
        let delta = choices.list[index].answer.piece(token);
        self.about_part(out, "response.output_text.delta", json!({"delta": delta, "logprobs": []}));
    }

    fn end(&mut self, out: &mut BytesMut, choices: &Choices, index: usize) {
        let text = choices.list[index].answer.text();
        self.about_part(out, "response.output_text.done", json!({"text": text, "logprobs": []}));
        self.about_part(out, "response.content_part.done", json!({"part": part(text)}));
        let item = item(&self.item_id, "completed", &[part(text)]);
        self.write(out, "response.output_item.done", json!({"output_index": 0, "item": item}));
    }

    fn close(&mut self, out: &mut BytesMut, choices: &Choices, _: bool) {
        let response = complete(std::mem::take(&mut self.response), &self.item_id, choices);
        let kind = if response["status"] == "completed" { "response.completed" } else { "response.incomplete" };
        self.write(out, kind, json!({"response": response}));
    }
}
