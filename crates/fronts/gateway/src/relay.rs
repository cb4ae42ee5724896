//! The body of a response while it passes from an endpoint to a client.
//!
//! Pieces go on as they come. What is ready at the same moment is joined into one piece (a burst costs one write), nothing is
//! ever waited for. One timer watches the stream; a piece only notes that it came.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Incoming};
use tokio::time::Instant;
use weir_api::Reason;
use weir_pool::{Endpoint, Time};
use weir_protocol::ModelRestore;
use weir_router::{End, Routed};

use crate::{
    answer::{BrokenOff, error_event},
    forward::{blame, is_to_blame},
    late::Late,
    settings::Live,
    ticket::Ticket,
    upstream::{Conn, Transport},
};

/// Pieces are joined up to this size.
const JOIN_BYTES: usize = 16 * 1024;

/// What has to be brought to an end with a response.
pub(crate) struct Session {
    live: Arc<Live>,
    /// Dropped unfinished, it counts as left by the client.
    routed: Option<Routed>,
    place: Place,
    ticket: Ticket,
}

/// An endpoint and its pool's place in the router.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) pool_index: usize,
    pub(crate) endpoint: Arc<Endpoint>,
}

pub(crate) struct Relay {
    session: Session,
    /// Read already, not yet passed on.
    first: Bytes,
    source: Option<(Box<Conn>, Incoming)>,
    /// Bytes to come, if known.
    left: Option<u64>,
    /// What happened after the piece that was passed on last.
    next: Option<Finish>,
    /// Gives pieces the model's name back that the client asked for.
    restore: Option<Box<ModelRestore>>,
    /// Follows the last piece.
    finale: Bytes,
    /// Ends of events, if an error can be told as one more event.
    events: Option<Tail>,
    late: Late,
    /// The response was framed properly up to its end, or ends in an error event.
    over: bool,
}

/// How a response ends.
#[derive(Clone, Copy, Debug)]
enum Finish {
    Complete,
    Failed(Reason),
}

/// The last four bytes of a stream of events.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tail([u8; 4]);

impl Tail {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        match piece.last_chunk::<4>() {
            Some(last) => self.0 = *last,
            None => {
                for byte in piece {
                    self.0 = [self.0[1], self.0[2], self.0[3], *byte];
                }
            }
        }
    }

    /// Whether the stream stands between two events.
    pub(crate) fn is_between_events(self) -> bool {
        self.0 == [0; 4] || self.0[2..] == *b"\n\n" || self.0 == *b"\r\n\r\n"
    }
}

impl Session {
    pub(crate) fn new(live: Arc<Live>, routed: Routed, place: Place, ticket: Ticket) -> Self {
        Self { live, routed: Some(routed), place, ticket }
    }

    /// A piece of the response is here.
    pub(crate) fn note(&mut self, piece: &[u8]) {
        self.ticket.bytes_out += piece.len() as u64;
        if let Some(routed) = &mut self.routed {
            routed.observe(piece, self.live.router.now());
        }
    }

    /// Keeps the connection for the next request.
    pub(crate) fn release(&self, conn: Box<Conn>, now: Time) {
        let Some(transport) = Transport::of(&self.place.endpoint) else { return };
        let settings = &self.live.settings;
        let tls = self.live.tls_for(self.place.pool_index, &self.place.endpoint).map(|tls| Arc::clone(&tls.config));
        transport.checkin(conn, tls, now, settings.timeouts.upstream_idle, settings.limits.upstream_idle);
    }

    /// All of it arrived.
    pub(crate) fn complete(&mut self) {
        if let Some(routed) = self.routed.take() {
            routed.finish(End::Complete);
        }
        self.ticket.settle();
    }

    /// The endpoint broke it off, and the client is told as well as can be.
    pub(crate) fn fail(&mut self, reason: Reason) {
        if is_to_blame(reason) {
            blame(&self.live, &self.place);
        }
        if let Some(routed) = self.routed.take() {
            routed.finish(End::Failed(reason));
        }
        self.ticket.metrics().broken_streams.inc();
        self.ticket.reason = Some(reason);
        self.ticket.settle();
    }
}

/// A piece with the model's name that the client asked for; the last one with what was held back.
pub(crate) fn restored(restore: &mut ModelRestore, piece: &Bytes, last: bool) -> Bytes {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut push = |piece| pieces.push(piece);
    restore.feed(piece, &mut push);
    if last {
        restore.finish(&mut push);
    }
    match pieces.as_slice() {
        [] => Bytes::new(),
        [one] => one.clone(),
        several => several.concat().into(),
    }
}

impl Relay {
    /// The rest of a response whose `first` piece is here. `events` says that the body is a stream of events that can be
    /// prolonged.
    pub(crate) fn new(
        session: Session,
        first: Bytes,
        source: (Box<Conn>, Incoming),
        left: Option<u64>,
        events: bool,
        total: Instant,
    ) -> Self {
        let mut relay = Self {
            late: Late::new(session.live.settings.timeouts.idle, total),
            session,
            first: Bytes::new(),
            source: Some(source),
            left,
            next: None,
            restore: None,
            finale: Bytes::new(),
            events: events.then(Tail::default),
            over: false,
        };
        relay.note(&first);
        relay.first = first;
        relay
    }

    /// The same, its pieces changed on their way: its length is unknown then.
    pub(crate) fn restoring(mut self, restore: Option<Box<ModelRestore>>) -> Self {
        if restore.is_some() {
            self.left = None;
        }
        self.restore = restore;
        self
    }

    pub(crate) fn left(&self) -> Option<u64> {
        self.left
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over && self.first.is_empty() && self.finale.is_empty()
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        let mut piece = std::mem::take(&mut self.first);
        if self.next.is_none() {
            piece = self.gather(cx, piece);
        }
        if let Some(restore) = &mut self.restore {
            piece = restored(restore, &piece, self.next.is_some());
        }
        if let Some(finish) = self.next.take() {
            self.finish(finish)?;
        }
        if piece.is_empty() {
            piece = std::mem::take(&mut self.finale);
        }
        if !piece.is_empty() {
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(piece.len() as u64);
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        if self.over { Poll::Ready(None) } else { Poll::Pending }
    }

    /// What is ready now, after `piece`; notes the end if it is seen.
    fn gather(&mut self, cx: &mut Context<'_>, mut piece: Bytes) -> Bytes {
        let Some((mut conn, mut body)) = self.source.take() else { return piece };
        let mut joined = BytesMut::new();
        loop {
            match conn.poll_data(cx, &mut body) {
                Poll::Ready(Some(Ok(more))) => {
                    self.note(&more);
                    if piece.is_empty() && joined.is_empty() {
                        piece = more;
                    } else {
                        if joined.is_empty() {
                            joined.reserve((piece.len() + more.len()).max(4096));
                            joined.extend_from_slice(&std::mem::take(&mut piece));
                        }
                        joined.extend_from_slice(&more);
                    }
                    if body.is_end_stream() {
                        self.next = Some(Finish::Complete);
                    } else if piece.len() + joined.len() < JOIN_BYTES {
                        continue;
                    }
                }
                Poll::Ready(Some(Err(error))) => self.next = Some(Finish::Failed(error.reason())),
                Poll::Ready(None) => self.next = Some(Finish::Complete),
                Poll::Pending => {
                    let mut cx = Context::from_waker(conn.waker());
                    if let Poll::Ready(reason) = self.late.poll(&mut cx) {
                        self.next = Some(Finish::Failed(reason));
                    }
                }
            }
            break;
        }
        match self.next {
            Some(Finish::Complete) => {
                // Nothing may hold on to the last body when the connection is asked whether it is free.
                drop(body);
                self.session.release(conn, self.session.live.router.now());
            }
            // Dropping the connection tells the endpoint to stop.
            Some(Finish::Failed(_)) => {}
            None => self.source = Some((conn, body)),
        }
        if joined.is_empty() { piece } else { joined.freeze() }
    }

    fn note(&mut self, piece: &[u8]) {
        self.late.moved();
        self.session.note(piece);
        if let Some(tail) = &mut self.events {
            tail.push(piece);
        }
    }

    fn finish(&mut self, finish: Finish) -> Result<(), BrokenOff> {
        match finish {
            Finish::Complete => {
                self.over = true;
                self.session.complete();
                Ok(())
            }
            Finish::Failed(reason) => {
                self.session.fail(reason);
                let Some(tail) = self.events else { return Err(BrokenOff(reason)) };
                let event = error_event(reason, self.session.ticket.style);
                self.finale = if tail.is_between_events() { event } else { [b"\n\n".as_slice(), &event].concat().into() };
                self.over = true;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_event_is_seen_across_pieces() {
        for (pieces, between) in [
            (&[b"data: 1\n\n".as_slice()][..], true),
            (&[b"data: 1\n", b"\n"], true),
            (&[b"data: 1\r\n\r", b"\n"], true),
            (&[], true),
            (&[b"data: 1\n"], false),
            (&[b"data: {\"a"], false),
            (&[b"\n\n", b"d"], false),
        ] {
            let mut tail = Tail::default();
            pieces.iter().for_each(|piece| tail.push(piece));
            assert_eq!(tail.is_between_events(), between, "{pieces:?}");
        }
    }
}
