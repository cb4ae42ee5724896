//! Answers of our own, and the body type of all answers.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body::{Body, Frame, SizeHint};
use weir_api::Reason;
use weir_protocol::{ErrorBody, ErrorStyle, anthropic_kind, grpc_message, grpc_status};
use weir_router::Refusal;

use crate::{grpc::Call, head::X_WEIR_REASON, relay::Relay};

/// Body of an answer: all there, or on its way from an endpoint.
pub(crate) enum Reply {
    Whole(Bytes),
    Stream(Box<Relay>),
    Call(Box<Call>),
}

/// An answer that cannot be ended properly: its connection, or HTTP/2 stream, is broken off so that the client notices.
#[derive(Debug, thiserror::Error)]
#[error("the response broke off: {0}")]
pub(crate) struct BrokenOff(pub(crate) Reason);

impl Body for Reply {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(relay) => relay.poll(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Call(call) => call.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream(relay) => relay.is_over(),
            Self::Call(call) => call.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(relay) => relay.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Call(_) => SizeHint::default(),
        }
    }
}

/// An answer with a body of our own.
pub(crate) fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Tells a client why it is not served, in the form of the API that it called.
pub(crate) fn refuse(refusal: &Refusal, style: ErrorStyle) -> Response<Reply> {
    let Refusal { outcome, message, param, retry_after } = refusal;
    let reason = outcome.reason;
    let mut response = match style {
        ErrorStyle::Grpc => grpc(outcome.status, message),
        _ => {
            let error = ErrorBody { message, kind: kind(reason, outcome.status, style), param: *param, code: reason.as_str() };
            let status = StatusCode::from_u16(outcome.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            whole(status, "application/json", error.to_json(style))
        }
    };
    let headers = response.headers_mut();
    headers.insert(X_WEIR_REASON, HeaderValue::from_static(reason.as_str()));
    if let Some(after) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if reason == Reason::Unauthorized {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A gRPC answer of headers only: the status of the call stands beside an HTTP status of 200.
fn grpc(status: u16, message: &str) -> Response<Reply> {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(grpc_status(status)));
    if let Ok(message) = HeaderValue::try_from(grpc_message(message)) {
        headers.insert("grpc-message", message);
    }
    response
}

fn kind(reason: Reason, status: u16, style: ErrorStyle) -> &'static str {
    if style == ErrorStyle::Anthropic { anthropic_kind(status) } else { reason.error_type() }
}

/// What a client is told about a failure that the router did not describe.
pub(crate) fn message(reason: Reason) -> &'static str {
    match reason {
        Reason::UpstreamConnectFailed => "The model server could not be reached.",
        Reason::UpstreamConnectTimeout => "The model server could not be reached in time.",
        Reason::UpstreamTlsFailed => "TLS with the model server failed.",
        Reason::UpstreamReset => "The model server broke off the connection.",
        Reason::UpstreamProtocol => "The model server sent an answer that is not valid HTTP.",
        Reason::UpstreamUnavailable => "The model server cannot serve now.",
        Reason::FirstByteTimeout => "The model server did not begin to answer in time.",
        Reason::IdleTimeout => "The model server stopped sending.",
        Reason::TotalTimeout => "The request took too long.",
        Reason::CircuitOpen => "The model server is left alone after repeated failures.",
        Reason::RetryBudgetExhausted => "The model server failed, and too many requests are being retried already.",
        Reason::BodyTooLarge => "The request's body is larger than this router allows.",
        Reason::HeadersTooLarge => "The request's headers are larger than this router allows.",
        Reason::RequestTimeout => "The request's body did not arrive in time.",
        Reason::Unauthorized => "No valid API key was given. Send one as `Authorization: Bearer KEY`.",
        Reason::MethodNotAllowed => "This method is not served.",
        Reason::ShuttingDown => "The router is shutting down.",
        Reason::ClientDisconnected => "The request's body ended early.",
        Reason::NoParser => "No parser of this pool reads requests to this path.",
        Reason::InvalidRequest => "The request is not valid.",
        Reason::NotFound => "Nothing is served at this path.",
        _ => "The router failed to serve the request.",
    }
}

/// A refusal with the usual message.
pub(crate) fn refusal(reason: Reason) -> Refusal {
    Refusal::new(reason, message(reason))
}

/// The event that ends a stream which an endpoint broke off.
pub(crate) fn error_event(reason: Reason, style: ErrorStyle) -> Bytes {
    let kind = kind(reason, reason.status(), style);
    ErrorBody { message: message(reason), kind, param: None, code: reason.as_str() }.to_sse(style)
}
