//! The request's half of a stream.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::CONTENT_LENGTH};
use weir_api::headers::{DESTINATION_ENDPOINT, REQUEST_ID};

use super::{Decision, Exchange, Output};
use crate::{
    Answer, BodyMode, Headers, Mutation, ProtocolError,
    answer::{BodyAnswer, Destination, chunks},
};

const X_DESTINATION: HeaderName = HeaderName::from_static(DESTINATION_ENDPOINT);
const X_REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID);

/// How much of a body is waited for in a mode in which the proxy keeps it until it is answered: proxies keep no less than this.
const EAGER_BYTES: u64 = 16 * 1024;

/// Where the request stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RequestSide {
    /// Nothing came.
    #[default]
    Nothing,
    /// Its body is kept until it is complete.
    Gathering,
    /// Somebody decides where it goes.
    Deciding {
        /// All of the body is here, and somebody wants to read it.
        whole: bool,
        /// How far it came.
        seen: Seen,
    },
    /// What comes passes.
    Passing,
    /// Everything came and was answered.
    Over,
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// More is to come.
    Part,
    /// It has no body.
    Headers,
    /// Its body ended.
    Body,
    /// Its body ended, and trailers followed.
    Trailers,
}

impl RequestSide {
    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }
}

impl Exchange {
    /// The headers of the request are here. `end_of_stream`: it has no body. `wanted`: somebody wants to read its body before it
    /// is routed.
    ///
    /// # Errors
    /// They were here already.
    pub fn request_headers(&mut self, headers: Headers, end_of_stream: bool, wanted: bool) -> Result<(), ProtocolError> {
        if self.is_moot() {
            return Ok(());
        }
        if self.request != RequestSide::Nothing {
            return Err(ProtocolError::RequestOrder("headers"));
        }
        self.gathered.announced = headers.content_length();
        self.headers = headers;
        if end_of_stream {
            self.decide(false, Seen::Headers);
            return Ok(());
        }
        match self.modes.request {
            _ if !wanted => self.decide(false, Seen::Part),
            BodyMode::FullDuplex => self.request = RequestSide::Gathering,
            // Trailers come only after every piece was answered, so nothing but its length tells when such a body is complete.
            BodyMode::Streamed if self.modes.eager && self.gathered.announced.is_some_and(|length| length <= EAGER_BYTES) => {
                self.request = RequestSide::Gathering;
            }
            BodyMode::None | BodyMode::Streamed => self.decide(false, Seen::Part),
            BodyMode::Buffered | BodyMode::BufferedPartial => {
                self.request = RequestSide::Gathering;
                // The body comes only after this answer.
                self.held = true;
                self.answer(Answer::RequestHeaders(Box::default()));
            }
        }
        Ok(())
    }

    /// A piece of the request's body is here.
    ///
    /// # Errors
    /// It came before the headers, or after the end.
    pub fn request_body(&mut self, body: Bytes, end_of_stream: bool) -> Result<(), ProtocolError> {
        if self.is_moot() {
            return Ok(());
        }
        let seen = if end_of_stream { Seen::Body } else { Seen::Part };
        match self.request {
            RequestSide::Gathering => {
                self.gathered.push(body);
                let (whole, now) = match self.modes.request {
                    // Trailers may follow a body that is all there.
                    BodyMode::Buffered => (true, true),
                    BodyMode::BufferedPartial => (end_of_stream, true),
                    BodyMode::Streamed => {
                        let complete = end_of_stream || self.gathered.len() as u64 >= self.gathered.announced.unwrap_or(0);
                        (complete, complete)
                    }
                    BodyMode::None | BodyMode::FullDuplex => (end_of_stream, end_of_stream),
                };
                if now {
                    self.decide(whole, seen);
                }
            }
            RequestSide::Deciding { whole, seen: Seen::Part } => {
                self.gathered.push(body);
                self.request = RequestSide::Deciding { whole, seen };
            }
            RequestSide::Passing => self.pass_request(body, end_of_stream),
            RequestSide::Nothing | RequestSide::Deciding { .. } | RequestSide::Over => {
                return Err(ProtocolError::RequestOrder("a body"));
            }
        }
        Ok(())
    }

    /// The trailers of the request are here.
    ///
    /// # Errors
    /// They came before the headers, or after the end; or nothing is left that could tell where the request goes.
    pub fn request_trailers(&mut self) -> Result<(), ProtocolError> {
        if self.is_moot() {
            return Ok(());
        }
        match self.request {
            RequestSide::Gathering if self.held => return Err(ProtocolError::NothingToHold),
            RequestSide::Gathering => self.decide(true, Seen::Trailers),
            RequestSide::Deciding { whole, seen: Seen::Part } => {
                self.request = RequestSide::Deciding { whole, seen: Seen::Trailers };
            }
            RequestSide::Passing => {
                self.request = RequestSide::Over;
                self.answer(Answer::RequestTrailers);
            }
            RequestSide::Nothing | RequestSide::Deciding { .. } | RequestSide::Over => {
                return Err(ProtocolError::RequestOrder("trailers"));
            }
        }
        Ok(())
    }

    /// Whether more of the request's body has to be kept than is allowed: it is to be refused.
    pub fn is_too_large(&self) -> bool {
        let announced = if self.request == RequestSide::Gathering { self.gathered.announced.unwrap_or(0) } else { 0 };
        (self.gathered.len() as u64).max(announced) > self.max_body_bytes
    }

    fn decide(&mut self, whole: bool, seen: Seen) {
        self.gathered.join();
        self.request = RequestSide::Deciding { whole, seen };
        self.outputs.push_back(Output::Route);
    }

    /// Sends a request that was routed on its way.
    pub(super) fn forward(&mut self, mut decision: Decision, seen: Seen) {
        let mut kept = std::mem::take(&mut self.gathered);
        let (messages, body) = (kept.messages, kept.take());
        let replacement = decision.body.take();
        let length = replacement.as_ref().map_or(body.len(), |pieces| pieces.iter().map(Bytes::len).sum());
        let full_duplex = self.modes.request == BodyMode::FullDuplex;
        let ended = matches!(seen, Seen::Body | Seen::Trailers);
        // A body that is held is sent with the length that its headers say; a stream's length is told to proxies that keep it.
        let says_length = if full_duplex { ended && length > 0 } else { self.held && replacement.is_some() };
        let mutation = Box::new(self.mutation(decision, says_length.then_some(length)));

        if self.held {
            let answer = match replacement {
                None => BodyAnswer::Headers(mutation),
                Some(pieces) => BodyAnswer::Replace(pieces.concat().into(), Some(mutation)),
            };
            self.answer(Answer::RequestBody(answer));
        } else {
            self.answer(Answer::RequestHeaders(mutation));
            if full_duplex {
                let outputs = &mut self.outputs;
                chunks(replacement.unwrap_or_else(|| vec![body]), seen == Seen::Body, |chunk| {
                    outputs.push_back(Output::Answer(Answer::RequestBody(BodyAnswer::Streamed(chunk))));
                });
            } else {
                self.answer_each(messages, replacement);
            }
        }
        if seen == Seen::Trailers {
            self.answer(Answer::RequestTrailers);
        }
        self.request = if seen == Seen::Part { RequestSide::Passing } else { RequestSide::Over };
    }

    /// Answers pieces that wait for an answer each.
    fn answer_each(&mut self, messages: u32, replacement: Option<Vec<Bytes>>) {
        let mut new = replacement.map(|pieces| Bytes::from(pieces.concat()));
        for _ in 0..messages {
            let answer = match &mut new {
                None => BodyAnswer::Continue,
                // The first piece becomes all of the new body, the others nothing.
                Some(body) => BodyAnswer::Replace(std::mem::take(body), None),
            };
            self.answer(Answer::RequestBody(answer));
        }
    }

    fn mutation(&mut self, decision: Decision, length: Option<usize>) -> Mutation {
        let mut set = Vec::with_capacity(3 + decision.headers.len());
        if let Ok(value) = HeaderValue::from_str(&decision.destination) {
            set.push((X_DESTINATION, value));
        }
        if let Some(length) = length {
            set.push((CONTENT_LENGTH, HeaderValue::from(length)));
        }
        set.extend(self.new_id.clone().map(|id| (X_REQUEST_ID, id)));
        set.extend(decision.headers);
        let is_set = |name: &HeaderName| set.iter().any(|(other, _)| other == name);
        let asked = decision.remove.iter().filter(|name| self.headers.fields.contains_key(*name));
        let mut remove: Vec<HeaderName> = Vec::new();
        for name in self.headers.controls().chain(asked) {
            if !is_set(name) && !remove.contains(name) {
                remove.push(name.clone());
            }
        }
        let destination = Some(Destination { endpoints: decision.destination, scores: decision.scores });
        Mutation { set, remove, clear_route_cache: true, destination }
    }

    fn pass_request(&mut self, body: Bytes, end_of_stream: bool) {
        if end_of_stream {
            self.request = RequestSide::Over;
        }
        if self.modes.request == BodyMode::FullDuplex {
            let outputs = &mut self.outputs;
            chunks([body], end_of_stream, |chunk| {
                outputs.push_back(Output::Answer(Answer::RequestBody(BodyAnswer::Streamed(chunk))));
            });
        } else {
            self.answer(Answer::RequestBody(BodyAnswer::Continue));
        }
    }
}
