//! Takes a request's body in.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Sleep, sleep};
use weir_api::Reason;
use weir_protocol::{Api, Scanner};

/// A body without a known length begins with a buffer of this size.
const FIRST_BYTES: usize = 16 * 1024;
/// An announced length is believed up to this size.
const TRUSTED_BYTES: usize = 1 << 20;

/// As much of a body as was wanted.
pub(crate) enum Received {
    /// All of it, and what was read of it if it came in pieces.
    Whole(Bytes, Option<Box<Scanner>>),
    /// More than `keep` bytes; the rest is still to come.
    Begun(Bytes, Incoming),
}

/// Reads a body of up to `limit` bytes. Stops early, without an error, when more than `keep` bytes are there or announced.
/// `idle` is the longest wait between two pieces. A body that comes in pieces is read as a request to `api` while it comes; one that
/// is found to be malformed is read to its end and left to be refused by the router.
pub(crate) async fn receive(
    mut body: Incoming,
    api: Option<Api>,
    keep: u64,
    limit: u64,
    idle: Duration,
) -> Result<Received, Reason> {
    let announced = body.size_hint();
    if announced.lower() > limit {
        return Err(Reason::BodyTooLarge);
    }
    if announced.lower() > keep {
        return Ok(Received::Begun(Bytes::new(), body));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let (mut scanner, mut malformed) = (None, false);
    let mut patience = Patience { timer: None, idle };
    while !body.is_end_stream() {
        let frame = std::future::poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => patience.poll(cx).map(|()| Err(Reason::RequestTimeout)),
        })
        .await?;
        let data = match frame {
            None => break,
            Some(Err(_)) => return Err(Reason::ClientDisconnected),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        patience.renew();
        // One piece is the usual case and is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.reserve(capacity(announced.exact(), first.len() + data.len()));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
            if let Some(api) = api.filter(|_| !malformed) {
                malformed = scanner.get_or_insert_with(|| Box::new(Scanner::new(api))).feed(&all).is_err();
            }
        }
        let have = (first.len() + all.len()) as u64;
        if have > limit {
            return Err(Reason::BodyTooLarge);
        }
        if have > keep && !body.is_end_stream() {
            return Ok(Received::Begun(if all.is_empty() { first } else { all.freeze() }, body));
        }
    }
    Ok(Received::Whole(if all.is_empty() { first } else { all.freeze() }, scanner.filter(|_| !malformed)))
}

fn capacity(announced: Option<u64>, have: usize) -> usize {
    // An announcement costs the client nothing: beyond this, memory follows what really arrives.
    announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(FIRST_BYTES).min(TRUSTED_BYTES).max(have)
}

/// A timer that exists only for clients that make us wait.
struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
    idle: Duration,
}

impl Patience {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        self.timer.get_or_insert_with(|| Box::pin(sleep(idle))).as_mut().poll(cx)
    }

    fn renew(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.as_mut().reset(Instant::now() + self.idle);
        }
    }
}
