//! The response's half of a stream.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{Completion, Exchange, Output};
use crate::{
    Answer, BodyMode, Mutation, ProtocolError,
    answer::{BodyAnswer, chunks},
};

/// Where the response stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ResponseSide {
    /// Nothing came.
    #[default]
    Nothing,
    /// What comes passes.
    Passing,
    /// Everything came and was answered.
    Over,
}

impl ResponseSide {
    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }

    /// Whether the response may be complete although its end was not shown.
    pub(super) fn may_end_unseen(self, mode: BodyMode) -> bool {
        self == Self::Passing && !mode.shows_end()
    }
}

impl Exchange {
    /// The headers of the response are here; `set` is what the client gets besides. They may come before the request was routed:
    /// then they are the proxy's own.
    ///
    /// # Errors
    /// They were here already.
    pub fn response_headers(&mut self, end_of_stream: bool, set: Vec<(HeaderName, HeaderValue)>) -> Result<(), ProtocolError> {
        if self.cut {
            return Ok(());
        }
        if self.response != ResponseSide::Nothing {
            return Err(ProtocolError::ResponseOrder("headers"));
        }
        self.response = ResponseSide::Passing;
        self.answer(Answer::ResponseHeaders(Box::new(Mutation { set, ..Mutation::default() })));
        if end_of_stream {
            self.end_response();
        }
        Ok(())
    }

    /// A piece of the response's body is here. It passes at once.
    ///
    /// # Errors
    /// It came before the headers, or after the end.
    pub fn response_body(&mut self, body: Bytes, end_of_stream: bool) -> Result<(), ProtocolError> {
        if self.cut {
            return Ok(());
        }
        if self.response != ResponseSide::Passing {
            return Err(ProtocolError::ResponseOrder("a body"));
        }
        if self.modes.response == BodyMode::FullDuplex {
            let outputs = &mut self.outputs;
            chunks([body], end_of_stream, |chunk| {
                outputs.push_back(Output::Answer(Answer::ResponseBody(BodyAnswer::Streamed(chunk))));
            });
        } else {
            self.answer(Answer::ResponseBody(BodyAnswer::Continue));
        }
        if end_of_stream {
            self.end_response();
        }
        Ok(())
    }

    /// The trailers of the response are here.
    ///
    /// # Errors
    /// They came before the headers, or after the end.
    pub fn response_trailers(&mut self) -> Result<(), ProtocolError> {
        if self.cut {
            return Ok(());
        }
        if self.response != ResponseSide::Passing {
            return Err(ProtocolError::ResponseOrder("trailers"));
        }
        self.answer(Answer::ResponseTrailers);
        self.end_response();
        Ok(())
    }

    fn end_response(&mut self) {
        self.response = ResponseSide::Over;
        if !self.numbers.is_empty()
            && let Some(Output::Answer(last)) = self.outputs.pop_back()
        {
            let numbers = std::mem::take(&mut self.numbers);
            self.answer(Answer::Last(Box::new(last), numbers));
        }
        self.finish(Completion::Complete);
    }
}
