//! Notices clients that neither ask nor listen.
//!
//! hyper's own timer for request heads costs an allocation and two visits to the timer wheel per request. Here one timer per
//! connection looks now and then at what moved since it looked last.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::Wire;

/// What moves on a connection.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    reads: AtomicU64,
    writes: AtomicU64,
    /// A write waits for the client to take what was sent before.
    stuck: AtomicBool,
    /// Heads of requests that were complete.
    heads: AtomicU64,
    /// Requests being served.
    active: AtomicU32,
}

impl Watch {
    pub(crate) fn begin(&self) {
        self.heads.fetch_add(1, Relaxed);
        self.active.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.active.fetch_sub(1, Relaxed);
    }
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Fine,
    /// Nobody asked for long: say goodbye.
    Idle,
    /// A head that never ends, or a client that takes nothing: cut.
    Stuck,
}

/// Looks at a [`Watch`] once per `period`.
pub(crate) struct Patrol {
    pub(crate) period: Duration,
    /// How long a connection may rest, or a write wait.
    pub(crate) idle: Duration,
    reads: u64,
    writes: u64,
    heads: u64,
    /// Looks in a row that found bytes of a head and no end of it.
    slow: u32,
    /// Looks in a row that found nothing.
    quiet: u32,
    /// Looks in a row that found a write waiting.
    stuck: u32,
}

impl Patrol {
    pub(crate) fn new(period: Duration, idle: Duration) -> Self {
        Self { period, idle, reads: 0, writes: 0, heads: 0, slow: 0, quiet: 0, stuck: 0 }
    }

    pub(crate) fn look(&mut self, watch: &Watch) -> Look {
        let (reads, writes, heads) = (watch.reads.load(Relaxed), watch.writes.load(Relaxed), watch.heads.load(Relaxed));
        let read = std::mem::replace(&mut self.reads, reads) != reads;
        let wrote = std::mem::replace(&mut self.writes, writes) != writes;
        let asked = std::mem::replace(&mut self.heads, heads) != heads;
        let resting = watch.active.load(Relaxed) == 0 && !asked;
        let count = |yes: bool, before: u32| if yes { before + 1 } else { 0 };
        self.stuck = count(watch.stuck.load(Relaxed) && !wrote, self.stuck);
        // Once may be a head that is just coming in.
        self.slow = count(resting && (read || self.slow > 0), self.slow);
        self.quiet = count(resting && !read, self.quiet);
        if self.slow >= 2 || self.period * self.stuck > self.idle {
            Look::Stuck
        } else if self.period * self.quiet > self.idle {
            Look::Idle
        } else {
            Look::Fine
        }
    }
}

/// A client's connection that keeps its [`Watch`] up to date.
pub(crate) struct Watched {
    pub(crate) wire: Wire,
    pub(crate) watch: Arc<Watch>,
}

impl Watched {
    fn note_write(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Pending => self.watch.stuck.store(true, Relaxed),
            Poll::Ready(_) => {
                self.watch.writes.fetch_add(1, Relaxed);
                if self.watch.stuck.load(Relaxed) {
                    self.watch.stuck.store(false, Relaxed);
                }
            }
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.wire).poll_read(cx, buf);
        if outcome.is_ready() {
            self.watch.reads.fetch_add(1, Relaxed);
        }
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.wire).poll_write(cx, buf);
        self.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.wire).poll_write_vectored(cx, bufs);
        self.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patrol() -> Patrol {
        Patrol::new(Duration::from_secs(30), Duration::from_secs(100))
    }

    #[test]
    fn a_head_that_never_ends_is_cut() {
        let (mut patrol, watch) = (patrol(), Watch::default());
        watch.reads.fetch_add(1, Relaxed);
        assert_eq!(patrol.look(&watch), Look::Fine);
        assert_eq!(patrol.look(&watch), Look::Stuck);
    }

    #[test]
    fn requests_may_take_their_time_and_come_back_to_back() {
        let (mut patrol, watch) = (patrol(), Watch::default());
        for _ in 0..10 {
            watch.reads.fetch_add(1, Relaxed);
            watch.begin();
            assert_eq!(patrol.look(&watch), Look::Fine);
            assert_eq!(patrol.look(&watch), Look::Fine);
            watch.end();
        }
    }

    #[test]
    fn rest_ends_after_a_while() {
        let (mut patrol, watch) = (patrol(), Watch::default());
        let looks: Vec<Look> = (0..4).map(|_| patrol.look(&watch)).collect();
        assert_eq!(looks, [Look::Fine, Look::Fine, Look::Fine, Look::Idle]);
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut patrol, watch) = (patrol(), Watch::default());
        watch.begin();
        watch.stuck.store(true, Relaxed);
        for _ in 0..10 {
            watch.writes.fetch_add(1, Relaxed);
            assert_eq!(patrol.look(&watch), Look::Fine);
        }
        let looks: Vec<Look> = (0..4).map(|_| patrol.look(&watch)).collect();
        assert_eq!(looks, [Look::Fine, Look::Fine, Look::Fine, Look::Stuck]);
    }
}
