//! One request's stream.

#[cfg(test)]
mod golden;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use self::{request::RequestSide, response::ResponseSide};
use crate::{Answer, Headers, Immediate, Modes, Number, body::Gathered};

/// What the machine wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this to the proxy.
    Answer(Answer),
    /// Route the request that [`Exchange::request`] shows, then call [`Exchange::decided`] or [`Exchange::refuse`].
    Route,
    /// The request is over. It comes exactly once.
    Done(Completion),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// All of the response that is shown to us went by.
    Complete,
    /// The client left, or the model server broke off: a proxy does not tell these apart.
    ClientGone,
    /// The stream to the proxy broke.
    Broken,
    /// It was routed and had to make room.
    Evicted,
    /// It was not routed.
    Refused,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The proxy ended it, or cancelled it.
    ByProxy,
    /// It broke.
    Broken,
}

/// Where a request goes.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// `ip:port[,ip:port…]`, as header and as metadata.
    pub destination: String,
    /// Scores of candidates, for the metadata.
    pub scores: Vec<(String, f64)>,
    /// More headers for the model server.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers that it does not get.
    pub remove: Vec<HeaderName>,
    /// What is sent instead of the body that came, in pieces.
    pub body: Option<Vec<Bytes>>,
}

/// A request that wants to be routed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its headers.
    pub headers: &'a Headers,
    /// Its body. `None`: it has none, or it is not known whole.
    pub body: Option<&'a Bytes>,
}

/// The machine.
#[derive(Debug)]
pub struct Exchange {
    modes: Modes,
    max_body_bytes: u64,
    headers: Headers,
    new_id: Option<HeaderValue>,
    gathered: Gathered,
    /// The headers of the request have been answered; they change with the answer to the body.
    held: bool,
    request: RequestSide,
    response: ResponseSide,
    /// The request has been routed.
    routed: bool,
    /// An immediate answer ended the stream.
    cut: bool,
    /// [`Output::Done`] has been put out.
    done: bool,
    /// For the last answer to the response.
    numbers: Vec<Number>,
    outputs: VecDeque<Output>,
}

impl Exchange {
    /// A stream whose first message says how bodies come. Requests with bodies above `max_body_bytes` that have to be kept are
    /// refused: see [`Exchange::is_too_large`].
    pub fn new(modes: Modes, max_body_bytes: u64) -> Self {
        Self {
            modes,
            max_body_bytes,
            headers: Headers::default(),
            new_id: None,
            gathered: Gathered::default(),
            held: false,
            request: RequestSide::default(),
            response: ResponseSide::default(),
            routed: false,
            cut: false,
            done: false,
            numbers: Vec::new(),
            outputs: VecDeque::with_capacity(4),
        }
    }

    /// What it wants next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The stream has nothing more to say: it can be ended once [`Exchange::poll`] gives nothing.
    pub fn is_over(&self) -> bool {
        self.cut || (self.request.is_over() && self.response.is_over())
    }

    /// Gives the request an id that it did not come with; it is forwarded. To be called before [`Exchange::request_headers`].
    pub fn set_request_id(&mut self, id: HeaderValue) {
        self.new_id = Some(id);
    }

    /// The id given by [`Exchange::set_request_id`], or the one that the request came with.
    pub fn request_id(&self) -> Option<&HeaderValue> {
        self.new_id.as_ref().or_else(|| self.headers.request_id())
    }

    /// The request as far as it is known.
    pub fn request(&self) -> Request<'_> {
        let whole = matches!(self.request, RequestSide::Deciding { whole: true, .. });
        Request { headers: &self.headers, body: whole.then(|| self.gathered.whole()) }
    }

    /// What came so far of a body that is kept until it is complete, to be read while it comes. It only grows.
    pub fn gathering(&self) -> Option<&[u8]> {
        (self.request == RequestSide::Gathering).then(|| self.gathered.so_far())
    }

    /// The answer that the machine asked for with [`Output::Route`]. It has no effect if the stream ended meanwhile.
    pub fn decided(&mut self, decision: Decision) {
        if self.cut || self.done {
            return;
        }
        if let RequestSide::Deciding { seen, .. } = self.request {
            self.routed = true;
            self.forward(decision, seen);
        }
    }

    /// Answers the client instead of routing the request. It has no effect once the request has been routed or is over.
    pub fn refuse(&mut self, answer: Immediate) {
        if !self.routed {
            self.cut_off(answer, Completion::Refused);
        }
    }

    /// Ends a request that runs, with an answer for the client if nothing of the response reached it. It has no effect on a
    /// request that was not routed or is over.
    pub fn evict(&mut self, answer: Immediate) {
        if self.routed {
            self.cut_off(answer, Completion::Evicted);
        }
    }

    /// What the last answer to the response says besides. To be called before the end of the response is told.
    pub fn report(&mut self, numbers: Vec<Number>) {
        self.numbers = numbers;
    }

    /// The stream has ended.
    pub fn close(&mut self, how: Closed) {
        let completion = match how {
            // A proxy that does not show the end of a body ends the stream instead.
            Closed::ByProxy if self.routed && self.response.may_end_unseen(self.modes.response) => Completion::Complete,
            Closed::ByProxy => Completion::ClientGone,
            Closed::Broken => Completion::Broken,
        };
        self.cut = true;
        self.gathered = Gathered::default();
        self.finish(completion);
    }

    /// The stream was cut off, or the response ended before the request was routed: what still comes of the request is of no use.
    fn is_moot(&self) -> bool {
        self.cut || (self.done && !self.routed)
    }

    fn answer(&mut self, answer: Answer) {
        self.outputs.push_back(Output::Answer(answer));
    }

    fn cut_off(&mut self, answer: Immediate, completion: Completion) {
        if self.cut || self.done {
            return;
        }
        self.cut = true;
        self.gathered = Gathered::default();
        // A request to route that nobody asked for yet is void.
        self.outputs.retain(|output| *output != Output::Route);
        self.answer(Answer::Immediate(Box::new(answer)));
        self.finish(completion);
    }

    fn finish(&mut self, completion: Completion) {
        if !std::mem::replace(&mut self.done, true) {
            self.outputs.push_back(Output::Done(completion));
        }
    }
}
