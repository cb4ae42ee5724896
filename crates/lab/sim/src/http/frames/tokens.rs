//! vLLM's `/inference/v1/generate`: token ids.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::{Frames, Head};
use crate::{answer::Answer, http::generate::Choices, tokenizer};

pub(super) fn document(head: &Head<'_>, choices: &Choices) -> Value {
    let ids = |answer: &Answer| (0..answer.tokens()).map(|token| tokenizer::id(answer.piece(token))).collect::<Vec<u32>>();
    let list = choices.list.iter().enumerate().map(|(index, choice)| {
        json!({"index": index, "finish_reason": choice.answer.finish.name(), "token_ids": ids(&choice.answer), "logprobs": null})
    });
    json!({"request_id": head.id, "choices": list.collect::<Vec<Value>>(), "kv_transfer_params": null})
}

pub(super) struct Chunks {
    id: String,
}

impl Chunks {
    pub(super) fn new(head: &Head<'_>) -> Self {
        Self { id: head.id.to_owned() }
    }

    fn write(&self, out: &mut BytesMut, choices: &[Value], usage: Option<Value>) {
        let mut data = json!({"request_id": self.id, "choices": choices});
        if let Some(usage) = usage {
            data["usage"] = usage;
        }
        out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
    }
}

impl Frames for Chunks {
    fn begin(&mut self, _: &mut BytesMut, _: &Choices, _: usize) {}

    fn token(&mut self, out: &mut BytesMut, choices: &Choices, index: usize, token: u32, last: bool) {
        let answer = &choices.list[index].answer;
        let finish = last.then(|| answer.finish.name());
        let id = tokenizer::id(answer.piece(token));
        self.write(out, &[json!({"index": index, "finish_reason": finish, "token_ids": [id]})], None);
    }

    fn end(&mut self, _: &mut BytesMut, _: &Choices, _: usize) {}

    fn close(&mut self, out: &mut BytesMut, choices: &Choices, _: bool) {
        self.write(out, &[], Some(choices.usage()));
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}
