//! Answers as server-sent events.
//!
//! Events are made when the connection asks for more, from the number of tokens that the engine has released; how they look is the
//! business of the API's [`Frames`].

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::{
    frames::{Frames, Head, frames},
    generate::Choices,
};

/// Most bytes handed to the connection at once.
const FRAME_BYTES: usize = 64 * 1024;

/// The body of a streamed response.
pub(crate) struct Events {
    frames: Box<dyn Frames>,
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
            frames: frames(head),
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
            self.frames.close(&mut self.buffer, &self.choices, self.usage);
            self.done = true;
        }
        if self.buffer.is_empty() { Poll::Pending } else { Poll::Ready(Some(self.buffer.split().freeze())) }
    }

    fn write_tokens(&mut self, index: usize, produced: u32) {
        let Self { frames, choices, sent, ended, buffer, .. } = self;
        let total = choices.list[index].answer.tokens();
        if sent[index] == 0 {
            frames.begin(buffer, choices, index);
        }
        while sent[index] < produced && buffer.len() < FRAME_BYTES {
            let last = sent[index] + 1 == total;
            if !choices.list[index].answer.piece(sent[index]).is_empty() {
                frames.token(buffer, choices, index, sent[index], last);
            }
            sent[index] += 1;
        }
        if sent[index] == total {
            frames.end(buffer, choices, index);
            *ended += 1;
        }
    }
}
