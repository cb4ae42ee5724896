//! Answers as server-sent events.
//!
//! The parts of a chunk that do not change within a stream are written once; a token costs copying them around its text. Chunks
//! are made when the connection asks for more, from the number of tokens that the engine has released.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};

use super::generate::{Api, Choices};
use crate::json::{push_number, push_string};

/// Most bytes handed to the connection at once.
const FRAME_BYTES: usize = 64 * 1024;

/// What all chunks of a response share.
pub(super) struct Head<'a> {
    pub(super) api: Api,
    pub(super) id: &'a str,
    pub(super) created: u64,
    pub(super) model: &'a str,
}

impl Head<'_> {
    pub(super) fn response_id(&self) -> String {
        let prefix = match self.api {
            Api::Chat => "chatcmpl",
            Api::Text => "cmpl",
        };
        format!("{prefix}-{}", self.id)
    }

    fn write(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(256);
        out.put_slice(b"data: {\"id\":");
        push_string(&mut out, &self.response_id());
        out.put_slice(match self.api {
            Api::Chat => b",\"object\":\"chat.completion.chunk\",\"created\":".as_slice(),
            Api::Text => b",\"object\":\"text_completion\",\"created\":".as_slice(),
        });
        push_number(&mut out, self.created);
        out.put_slice(b",\"model\":");
        push_string(&mut out, self.model);
        out.put_slice(b",\"choices\":[");
        out
    }
}

/// The body of a streamed response.
pub(crate) struct Events {
    api: Api,
    head: Bytes,
    choices: Choices,
    /// Tokens sent of each choice.
    sent: Vec<u32>,
    /// Choices whose last chunk was sent.
    ended: usize,
    usage: bool,
    done: bool,
    buffer: BytesMut,
}

impl Events {
    pub(super) fn new(head: &Head<'_>, choices: Choices, usage: bool) -> Self {
        Self {
            api: head.api,
            head: head.write().freeze(),
            sent: vec![0; choices.list.len()],
            choices,
            ended: 0,
            usage,
            done: false,
            buffer: BytesMut::new(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The events that are due, or `None` after the last.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.done {
            return Poll::Ready(None);
        }
        for index in 0..self.choices.list.len() {
            // Asking again after writing leaves a waker behind, also where a stop string swallowed all that was written.
            while self.sent[index] < self.choices.list[index].answer.tokens()
                && let Poll::Ready(produced) = self.choices.list[index].ticket.poll_more(self.sent[index], cx)
            {
                self.write_tokens(index, produced);
                if self.buffer.len() >= FRAME_BYTES {
                    return Poll::Ready(Some(self.buffer.split().freeze()));
                }
            }
        }
        if self.ended == self.choices.list.len() {
            if self.usage {
                self.buffer.put_slice(&self.head);
                self.buffer.put_slice(b"],\"usage\":");
                self.buffer.put_slice(self.choices.usage().to_string().as_bytes());
                self.buffer.put_slice(b"}\n\n");
            }
            self.buffer.put_slice(b"data: [DONE]\n\n");
            self.done = true;
        }
        if self.buffer.is_empty() { Poll::Pending } else { Poll::Ready(Some(self.buffer.split().freeze())) }
    }

    fn write_tokens(&mut self, index: usize, produced: u32) {
        let total = self.choices.list[index].answer.tokens();
        if self.sent[index] == 0 && self.api == Api::Chat {
            self.chunk(index, |out| out.put_slice(b",\"delta\":{\"role\":\"assistant\",\"content\":\"\"}"), None);
        }
        while self.sent[index] < produced && self.buffer.len() < FRAME_BYTES {
            let piece = self.choices.list[index].answer.piece(self.sent[index]).len();
            if piece > 0 {
                self.content_chunk(index);
            }
            self.sent[index] += 1;
        }
        if self.sent[index] == total {
            let finish = self.choices.list[index].answer.finish.name();
            let empty: &[u8] = match self.api {
                Api::Chat => b",\"delta\":{}",
                Api::Text => b",\"text\":\"\"",
            };
            self.chunk(index, |out| out.put_slice(empty), Some(finish));
            self.ended += 1;
        }
    }

    fn content_chunk(&mut self, index: usize) {
        let Self { head, buffer, choices, sent, api, .. } = self;
        let text = choices.list[index].answer.piece(sent[index]);
        buffer.reserve(head.len() + text.len() + 128);
        open(buffer, head, index);
        match api {
            Api::Chat => {
                buffer.put_slice(b",\"delta\":{\"content\":");
                push_string(buffer, text);
                buffer.put_u8(b'}');
            }
            Api::Text => {
                buffer.put_slice(b",\"text\":");
                push_string(buffer, text);
            }
        }
        close(buffer, None);
    }

    fn chunk(&mut self, index: usize, delta: impl FnOnce(&mut BytesMut), finish: Option<&str>) {
        open(&mut self.buffer, &self.head, index);
        delta(&mut self.buffer);
        close(&mut self.buffer, finish);
    }
}

fn open(out: &mut BytesMut, head: &[u8], index: usize) {
    out.put_slice(head);
    out.put_slice(b"{\"index\":");
    push_number(out, index as u64);
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
