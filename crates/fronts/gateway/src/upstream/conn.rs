//! An HTTP/1.1 connection to an endpoint, driven by the task that uses it.
//!
//! The usual way spawns the connection and exchanges every piece of a body with it through a channel: two tasks take turns, at
//! two wake-ups a piece. Here whoever waits for a response polls the connection itself.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;

use super::{nudge::Nudge, outgoing::Outgoing};
use crate::wire::Wire;

/// Rounds in one turn before the task lets others run.
const ROUNDS: u32 = 8;

pub(crate) struct Conn {
    sender: SendRequest<Outgoing>,
    driver: Connection<TokioIo<Wire>, Outgoing>,
    nudge: Arc<Nudge>,
    waker: Waker,
    /// The driver ended.
    over: bool,
    /// It has served a request before.
    pub(crate) reused: bool,
}

/// The connection ended without saying what was waited for.
#[derive(Debug)]
pub(crate) struct Closed;

impl Conn {
    pub(crate) async fn open(wire: Wire) -> hyper::Result<Self> {
        let (sender, driver) = Builder::new().handshake(TokioIo::new(wire)).await?;
        let nudge = Nudge::new();
        let waker = Waker::from(Arc::clone(&nudge));
        Ok(Self { sender, driver, nudge, waker, over: false, reused: false })
    }

    /// Polls the connection and `step` in turn until `step` is ready or nothing moves. `cx`'s waker is called when something
    /// outside moves again. Whatever else the caller waits for may be polled with [`Conn::waker`].
    pub(crate) fn turn<T>(
        &mut self,
        cx: &Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Closed>> {
        if !self.nudge.begin(cx.waker()) && self.nudge.rest() {
            return Poll::Pending;
        }
        // `step` needs no waker of its own: what makes it ready happens in `drive`, after which it is polled again.
        let mut quiet = Context::from_waker(Waker::noop());
        for _ in 0..ROUNDS {
            if let Poll::Ready(value) = step(&mut quiet) {
                self.nudge.leave();
                return Poll::Ready(Ok(value));
            }
            self.drive();
            if let Poll::Ready(value) = step(&mut quiet) {
                self.nudge.leave();
                return Poll::Ready(Ok(value));
            }
            if self.over {
                self.nudge.leave();
                return Poll::Ready(Err(Closed));
            }
            if self.nudge.rest() {
                return Poll::Pending;
            }
        }
        self.nudge.leave();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn drive(&mut self) {
        if !self.over {
            self.over = Pin::new(&mut self.driver).poll(&mut Context::from_waker(&self.waker)).is_ready();
        }
    }

    /// Wakes the task that takes turns here, and makes its next turn count.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Sends a request; `meanwhile` is polled whenever the response is not there yet, and ends the wait.
    pub(crate) async fn send<E>(
        &mut self,
        request: Request<Outgoing>,
        mut meanwhile: impl FnMut(&mut Context<'_>) -> Poll<E>,
    ) -> Result<hyper::Result<Response<Incoming>>, SendError<E>> {
        let mut response = pin!(self.sender.send_request(request));
        // `send_request` put the request into a channel without a wake.
        self.nudge.leave();
        std::future::poll_fn(|cx| {
            // Split off what `turn` must not borrow twice.
            match self.turn(cx, |quiet| response.as_mut().poll(quiet)) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(Closed)) => Poll::Ready(Err(SendError::Closed)),
                Poll::Pending => meanwhile(&mut Context::from_waker(&self.waker)).map(|e| Err(SendError::Interrupted(e))),
            }
        })
        .await
    }

    /// The next piece of a body that this connection carries; trailers are left out.
    pub(crate) fn poll_data(&mut self, cx: &Context<'_>, body: &mut Incoming) -> Poll<Option<Result<Bytes, DataError>>> {
        let piece = self.turn(cx, |quiet| {
            loop {
                return match Pin::new(&mut *body).poll_frame(quiet) {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => Poll::Ready(Some(Ok(data))),
                        Err(_trailers) => continue,
                    },
                    Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(DataError::Http(error)))),
                    Poll::Ready(None) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                };
            }
        });
        match piece {
            Poll::Ready(Ok(piece)) => Poll::Ready(piece),
            Poll::Ready(Err(Closed)) => Poll::Ready(Some(Err(DataError::Closed))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Ends the last exchange and lets the connection rest. False if it cannot carry another request.
    pub(crate) fn park(&mut self) -> bool {
        self.nudge.begin(Waker::noop());
        for _ in 0..ROUNDS {
            self.drive();
            if self.over || self.nudge.rest() {
                break;
            }
        }
        self.reused = true;
        !self.over && self.sender.is_ready()
    }

    /// Whether a connection that rested can still be used: the endpoint said nothing meanwhile, or nothing that matters.
    pub(crate) fn unpark(&mut self) -> bool {
        if self.nudge.is_called() {
            self.drive();
        }
        !self.over && self.sender.is_ready()
    }
}

#[derive(Debug)]
pub(crate) enum SendError<E> {
    Closed,
    Interrupted(E),
}

#[derive(Debug)]
pub(crate) enum DataError {
    Closed,
    Http(hyper::Error),
}
