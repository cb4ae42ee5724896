//! What a proxy does wrong.

/// A message that may not come where it came. The stream cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A request's message before its headers, after its end, or twice.
    #[error("{0} of the request came out of order")]
    RequestOrder(&'static str),
    /// A request with trailers and without a body, where headers wait for the answer to a body.
    #[error("a request without a body has trailers, so that its headers cannot be changed in this body mode")]
    NothingToHold,
    /// A response's message before its headers, after its end, or twice.
    #[error("{0} of the response came out of order")]
    ResponseOrder(&'static str),
}
