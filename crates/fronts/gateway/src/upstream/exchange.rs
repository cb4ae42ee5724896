//! One request and the beginning of its response.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, response::Parts};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use weir_api::Reason;

use super::{Conn, DataError, Outgoing, UploadWatch, conn::SendError};

/// Until when a response must have begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) first_byte: Duration,
    pub(crate) total: Instant,
    /// Now, more or less.
    pub(crate) now: Instant,
}

/// A response as far as it is there: its head, its first piece, and what carries the rest.
pub(crate) struct Exchange {
    pub(crate) head: Parts,
    pub(crate) first: Bytes,
    /// The body as it was announced: total length if known.
    pub(crate) length: Option<u64>,
    pub(crate) state: Rest,
}

/// Where the rest of the response is.
pub(crate) enum Rest {
    /// Nothing follows `first`; the connection is free.
    Nothing(Box<Conn>),
    /// More follows.
    Body(Box<Conn>, Incoming),
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    /// The connection had rested and was dead when it was used: says nothing about the endpoint.
    pub(crate) stale: bool,
}

impl Failure {
    fn new(reason: Reason) -> Self {
        Self { reason, stale: false }
    }
}

impl Exchange {
    /// Sends `request` and waits for the first piece of the response's body, so that an endpoint that dies before it computed
    /// anything can be replaced by another one.
    pub(crate) async fn run(
        mut conn: Box<Conn>,
        request: Request<Outgoing>,
        limits: Limits,
        upload: Option<&UploadWatch>,
    ) -> Result<Self, Failure> {
        let reused = conn.reused;
        let mut timer = pin!(sleep_until(limits.total.min(limits.now + limits.first_byte)));
        let mut late = |cx: &mut Context<'_>| poll_late(timer.as_mut(), cx, limits, upload);

        let response = match conn.send(request, &mut late).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let reason = match upload {
                    Some(upload) if upload.too_large() => Reason::BodyTooLarge,
                    Some(upload) if upload.broken() => Reason::ClientDisconnected,
                    _ => reason_of(&error),
                };
                return Err(Failure { reason, stale: reused && reason == Reason::UpstreamReset });
            }
            Err(SendError::Closed) => return Err(Failure { reason: Reason::UpstreamReset, stale: reused }),
            Err(SendError::Interrupted(reason)) => return Err(Failure::new(reason)),
        };
        let (head, mut body) = response.into_parts();
        let length = body.size_hint().exact();
        if body.is_end_stream() {
            return Ok(Self { head, first: Bytes::new(), length, state: Rest::Nothing(conn) });
        }
        let first = std::future::poll_fn(|cx| match conn.poll_data(cx, &mut body) {
            Poll::Ready(Some(Ok(data))) if data.is_empty() => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(piece) => Poll::Ready(Ok(piece)),
            Poll::Pending => late(&mut Context::from_waker(conn.waker())).map(Err),
        })
        .await;
        match first {
            Ok(Some(Ok(first))) => {
                let state = if body.is_end_stream() { Rest::Nothing(conn) } else { Rest::Body(conn, body) };
                Ok(Self { head, first, length, state })
            }
            Ok(None) => Ok(Self { head, first: Bytes::new(), length, state: Rest::Nothing(conn) }),
            Ok(Some(Err(error))) => Err(Failure::new(error.reason())),
            Err(reason) => Err(Failure::new(reason)),
        }
    }
}

/// Ready when the response is late. A client that still uploads is not the endpoint's fault: the clock starts anew with each piece.
fn poll_late(
    mut timer: std::pin::Pin<&mut Sleep>,
    cx: &mut Context<'_>,
    limits: Limits,
    upload: Option<&UploadWatch>,
) -> Poll<Reason> {
    while timer.as_mut().poll(cx).is_ready() {
        let now = Instant::now();
        if now >= limits.total {
            return Poll::Ready(Reason::TotalTimeout);
        }
        if !upload.is_some_and(UploadWatch::moved) {
            return Poll::Ready(Reason::FirstByteTimeout);
        }
        timer.as_mut().reset(limits.total.min(now + limits.first_byte));
    }
    Poll::Pending
}

impl DataError {
    /// The stable reason for an answer that broke off.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Closed => Reason::UpstreamReset,
            Self::Http(error) => reason_of(error),
        }
    }
}

fn reason_of(error: &hyper::Error) -> Reason {
    if error.is_parse() || error.is_parse_too_large() { Reason::UpstreamProtocol } else { Reason::UpstreamReset }
}
