//! What a proxy is answered.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// Longest piece of a streamed body. Proxies promise to take 64 KiB.
pub const CHUNK_BYTES: usize = 62_000;

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To the headers of the request.
    RequestHeaders(Box<Mutation>),
    /// To its body, or a piece of it.
    RequestBody(BodyAnswer),
    /// To its trailers: they pass.
    RequestTrailers,
    /// To the headers of the response.
    ResponseHeaders(Box<Mutation>),
    /// To its body, or a piece of it.
    ResponseBody(BodyAnswer),
    /// To its trailers: they pass.
    ResponseTrailers,
    /// To the client, at once; it ends the stream.
    Immediate(Box<Immediate>),
    /// One of the others, which is the last to a response, with numbers for the proxy's metadata.
    Last(Box<Answer>, Vec<Number>),
}

/// A number for the proxy's dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its key.
    pub name: Arc<str>,
    /// The number.
    pub value: i64,
}

/// What changes about headers. Whatever is not named here stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mutation {
    /// Headers that get one value each, whatever they had. A name that is listed again gets one value more.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers that go.
    pub remove: Vec<HeaderName>,
    /// The proxy chooses the route again.
    pub clear_route_cache: bool,
    /// For the proxy's load balancer.
    pub destination: Option<Destination>,
}

/// Where the request goes, as metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Destination {
    /// `ip:port[,ip:port…]`, the same as in the header.
    pub endpoints: String,
    /// Score of every candidate, if wanted.
    pub scores: Vec<(String, f64)>,
}

/// What becomes of a body, or a piece of it.
#[derive(Clone, Debug, PartialEq)]
pub enum BodyAnswer {
    /// It passes as it is.
    Continue,
    /// As [`BodyAnswer::Continue`], and the headers that waited for it change.
    Headers(Box<Mutation>),
    /// Something else takes its place, and the headers that waited for it change.
    Replace(Bytes, Option<Box<Mutation>>),
    /// A piece of a body in full duplex.
    Streamed(Chunk),
}

/// A piece of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes.
    pub body: Bytes,
    /// Nothing follows it.
    pub end_of_stream: bool,
}

/// An answer to the client that the proxy gives instead of the model server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Immediate {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: Bytes,
    /// For clients that speak gRPC: its status.
    pub grpc_status: Option<u32>,
    /// For the proxy's log.
    pub details: &'static str,
}

/// Gives `pieces`, one after the other, to `f` as chunks of a streamed body; `end` says whether the last one ends it. Nothing at
/// all is one empty chunk if it is the end, and no chunk otherwise. Short pieces are joined: a message costs more than a copy.
pub(crate) fn chunks(pieces: impl IntoIterator<Item = Bytes>, end: bool, mut f: impl FnMut(Chunk)) {
    let mut held = Bytes::new();
    for mut piece in pieces {
        while !piece.is_empty() {
            let next = piece.split_to(piece.len().min(CHUNK_BYTES));
            if held.is_empty() {
                held = next;
            } else if held.len() + next.len() <= CHUNK_BYTES {
                held = [held.as_ref(), next.as_ref()].concat().into();
            } else {
                f(Chunk { body: std::mem::replace(&mut held, next), end_of_stream: false });
            }
        }
    }
    if end || !held.is_empty() {
        f(Chunk { body: held, end_of_stream: end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(pieces: &[usize], end: bool) -> Vec<(usize, bool)> {
        let mut out = Vec::new();
        chunks(pieces.iter().map(|len| vec![b'x'; *len].into()), end, |chunk| out.push((chunk.body.len(), chunk.end_of_stream)));
        out
    }

    #[test]
    fn a_body_is_cut_as_llm_d_cuts_it() {
        for (len, count) in [(0, 1), (61_000, 1), (62_000, 1), (62_001, 2), (63_000, 2), (125_000, 3)] {
            let found = lengths(&[len], true);
            assert_eq!(found.len(), count, "{len}");
            assert_eq!(found.iter().map(|(len, _)| len).sum::<usize>(), len);
            assert!(found.iter().rev().skip(1).all(|(len, end)| *len == CHUNK_BYTES && !end));
            assert!(found.last().unwrap().1);
        }
    }

    #[test]
    fn a_body_that_goes_on_has_no_empty_pieces() {
        assert_eq!(lengths(&[0], false), []);
        assert_eq!(lengths(&[3, 0, 4], false), [(7, false)]);
        assert_eq!(lengths(&[3, 62_000], false), [(3, false), (62_000, false)]);
        assert_eq!(lengths(&[3, 0], true), [(3, true)]);
    }
}
