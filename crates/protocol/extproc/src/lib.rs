//! Envoy's external processing of one request, as a state machine without sockets.
//!
//! A proxy opens one stream per request and sends the request's and the response's headers, bodies and trailers over it
//! (`envoy.service.ext_proc.v3`). [`Exchange`] is told of each message and says what to answer; where a request is complete it
//! asks to be routed ([`Output::Route`]) and is told the [`Decision`], or why there is none ([`Exchange::refuse`]).
//!
//! Invariants, for every order of messages that a proxy may send:
//! - answers keep the order headers, body, trailers in each direction, and no piece of a streamed body is longer than
//!   [`CHUNK_BYTES`];
//! - the pieces answered are, put together, the body that came (or the body of the decision), and nothing is lost or doubled;
//! - nothing about the request is answered before it is complete, where the mode of the body allows to wait for that;
//! - [`Output::Done`] comes exactly once, however the stream ends.
//!
//! Cost: a piece of a body that passes is moved, not copied, and costs no allocation. A request's body that comes in one piece is
//! not copied either; one that comes in several is put together once.
//!
//! Not here: protobuf, where a request goes, what is learned from a response.
#![deny(missing_docs)]

mod answer;
mod body;
mod error;
mod exchange;
mod headers;
mod mode;

pub use self::{
    answer::{Answer, BodyAnswer, CHUNK_BYTES, Chunk, Destination, Immediate, Mutation, Number},
    error::ProtocolError,
    exchange::{Closed, Completion, Decision, Exchange, Output, Request},
    headers::Headers,
    mode::{BodyMode, Modes},
};
