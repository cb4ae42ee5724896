//! Chat and text completions.
//!
//! The parts of a chunk that do not change within a stream are written once; a token costs copying them around its text.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::{Frames, Head};
use crate::{
    answer::Answer,
    http::generate::{Api, Choices},
    json::{push_number, push_string},
};

fn response_id(head: &Head<'_>) -> String {
    let prefix = match head.api {
        Api::Chat => "chatcmpl",
        _ => "cmpl",
    };
    format!("{prefix}-{}", head.id)
}

pub(super) fn document(head: &Head<'_>, choices: &Choices) -> Value {
    let list = choices.list.iter().enumerate().map(|(index, choice)| {
        let Answer { finish, stopped_by, .. } = &choice.answer;
        let mut value = json!({"index": index, "finish_reason": finish.name(), "stop_reason": stopped_by, "logprobs": null});
        match head.api {
            Api::Chat => value["message"] = json!({"role": "assistant", "content": choice.answer.text()}),
            _ => value["text"] = json!(choice.answer.text()),
        }
        value
    });
    json!({
        "id": response_id(head),
        "object": if head.api == Api::Chat { "chat.completion" } else { "text_completion" },
        "created": head.created,
        "model": head.model,
        "choices": list.collect::<Vec<Value>>(),
        "usage": choices.usage(),
    })
}

pub(super) struct Chunks {
    chat: bool,
    head: Bytes,
}

impl Chunks {
    pub(super) fn new(head: &Head<'_>) -> Self {
        let chat = head.api == Api::Chat;
        let mut out = BytesMut::with_capacity(256);
        out.put_slice(b"data: {\"id\":");
        push_string(&mut out, &response_id(head));
        out.put_slice(if chat {
            b",\"object\":\"chat.completion.chunk\",\"created\":".as_slice()
        } else {
            b",\"object\":\"text_completion\",\"created\":".as_slice()
        });
        push_number(&mut out, head.created);
        out.put_slice(b",\"model\":");
        push_string(&mut out, head.model);
        out.put_slice(b",\"choices\":[");
        Self { chat, head: out.freeze() }
    }

    fn open(&self, out: &mut BytesMut, index: usize) {
        out.put_slice(&self.head);
        out.put_slice(b"{\"index\":");
        push_number(out, index as u64);
    }
}

impl Frames for Chunks {
    fn begin(&mut self, out: &mut BytesMut, _: &Choices, index: usize) {
        if self.chat {
            self.open(out, index);
            out.put_slice(b",\"delta\":{\"role\":\"assistant\",\"content\":\"\"}");
            close(out, None);
        }
    }

    fn token(&mut self, out: &mut BytesMut, choices: &Choices, index: usize, token: u32, _: bool) {
        let text = choices.list[index].answer.piece(token);
        out.reserve(self.head.len() + text.len() + 128);
        self.open(out, index);
        if self.chat {
            out.put_slice(b",\"delta\":{\"content\":");
            push_string(out, text);
            out.put_u8(b'}');
        } else {
            out.put_slice(b",\"text\":");
            push_string(out, text);
        }
        close(out, None);
    }

    fn end(&mut self, out: &mut BytesMut, choices: &Choices, index: usize) {
        self.open(out, index);
        out.put_slice(if self.chat { b",\"delta\":{}".as_slice() } else { b",\"text\":\"\"".as_slice() });
        close(out, Some(choices.list[index].answer.finish.name()));
    }

    fn close(&mut self, out: &mut BytesMut, choices: &Choices, usage: bool) {
        if usage {
            out.put_slice(&self.head);
            out.put_slice(b"],\"usage\":");
            out.put_slice(choices.usage().to_string().as_bytes());
            out.put_slice(b"}\n\n");
        }
        out.put_slice(b"data: [DONE]\n\n");
    }
}

fn close(out: &mut BytesMut, finish: Option<&str>) {
    match finish {
        None => out.put_slice(b",\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n"),
        Some(reason) => {
            out.put_slice(b",\"logprobs\":null,\"finish_reason\":\"");
            out.put_slice(reason.as_bytes());
            out.put_slice(b"\"}],\"usage\":null}\n\n");
        }
    }
}
