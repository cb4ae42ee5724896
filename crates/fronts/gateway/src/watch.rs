//! Notices clients that neither ask nor listen.
//!
//! hyper's own timer for request heads costs an allocation and two visits to the timer wheel per request. Here one task looks
//! now and then at what moved on each connection since it looked last; a connection itself only counts.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
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
    /// What the connection was told to do.
    order: AtomicU8,
    /// The connection's task.
    task: Mutex<Option<Waker>>,
}

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Go on.
    None,
    /// Say goodbye after the requests under way.
    Finish,
    /// End now.
    Cut,
}

impl Watch {
    /// Tells the connection what to do; what it was told before may only become stricter.
    fn order(&self, order: Order) {
        if self.order.fetch_max(order as u8, Release) < order as u8 {
            let task = self.task.lock().take();
            if let Some(task) = task {
                task.wake();
            }
        }
    }

    /// What to do; one atomic load.
    pub(crate) fn orders(&self) -> Order {
        match self.order.load(Acquire) {
            0 => Order::None,
            1 => Order::Finish,
            _ => Order::Cut,
        }
    }

    /// Whom to wake for the next order. To be called before the orders are looked at.
    pub(crate) fn listen(&self, task: &Waker) {
        *self.task.lock() = Some(task.clone());
    }

    pub(crate) fn begin(&self) {
        self.heads.fetch_add(1, Relaxed);
        self.active.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.active.fetch_sub(1, Relaxed);
    }
}

/// All connections, so that somebody can look after them.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    connections: HashMap<u64, (Arc<Watch>, Seen)>,
    /// What every connection is told, also those to come.
    standing: Option<Order>,
}

/// A connection's place in a [`Roster`]; dropping it takes the connection out.
pub(crate) struct Member {
    roster: Arc<Roster>,
    id: u64,
    pub(crate) watch: Arc<Watch>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.roster.list.lock().connections.remove(&self.id);
    }
}

impl Roster {
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        let watch = Arc::new(Watch::default());
        let mut list = self.list.lock();
        let id = list.next;
        list.next += 1;
        list.connections.insert(id, (Arc::clone(&watch), Seen::default()));
        if let Some(order) = list.standing {
            watch.order(order);
        }
        Member { roster: Arc::clone(self), id, watch }
    }

    /// Tells all connections, and those to come, what to do.
    pub(crate) fn order_all(&self, order: Order) {
        let mut list = self.list.lock();
        list.standing = Some(order);
        for (watch, _) in list.connections.values() {
            watch.order(order);
        }
    }

    /// Looks at all connections. `period` is the time since the last look, `idle` how long a connection may rest, or a write wait,
    /// `total` how long nothing may move while requests are under way.
    pub(crate) fn look(&self, period: Duration, idle: Duration, total: Duration) {
        for (watch, seen) in self.list.lock().connections.values_mut() {
            watch.order(seen.look(watch, period, idle, total));
        }
    }
}

/// What was seen of a connection.
#[derive(Debug, Default)]
struct Seen {
    reads: u64,
    writes: u64,
    heads: u64,
    /// Looks in a row that found bytes of a head and no end of it.
    slow: u32,
    /// Looks in a row that found nothing.
    quiet: u32,
    /// Looks in a row that found a write waiting.
    stuck: u32,
    /// Looks in a row that found requests and no movement: an HTTP/2 client may keep its window shut, and then nobody polls the
    /// response or its timer.
    still: u32,
}

impl Seen {
    fn look(&mut self, watch: &Watch, period: Duration, idle: Duration, total: Duration) -> Order {
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
        self.still = count(!resting && !asked && !read && !wrote, self.still);
        if self.slow >= 2 || period * self.stuck > idle || period * self.still > total {
            Order::Cut
        } else if period * self.quiet > idle {
            Order::Finish
        } else {
            Order::None
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

    const SECOND: Duration = Duration::from_secs(1);

    fn look(seen: &mut Seen, watch: &Watch) -> Order {
        seen.look(watch, SECOND * 30, SECOND * 100, SECOND * 300)
    }

    #[test]
    fn a_head_that_never_ends_is_cut() {
        let (mut seen, watch) = (Seen::default(), Watch::default());
        watch.reads.fetch_add(1, Relaxed);
        assert_eq!(look(&mut seen, &watch), Order::None);
        assert_eq!(look(&mut seen, &watch), Order::Cut);
    }

    #[test]
    fn requests_may_take_their_time_and_come_back_to_back() {
        let (mut seen, watch) = (Seen::default(), Watch::default());
        for _ in 0..10 {
            watch.reads.fetch_add(1, Relaxed);
            watch.begin();
            assert_eq!(look(&mut seen, &watch), Order::None);
            assert_eq!(look(&mut seen, &watch), Order::None);
            watch.end();
        }
    }

    #[test]
    fn rest_ends_after_a_while() {
        let (mut seen, watch) = (Seen::default(), Watch::default());
        let looks: Vec<Order> = (0..4).map(|_| look(&mut seen, &watch)).collect();
        assert_eq!(looks, [Order::None, Order::None, Order::None, Order::Finish]);
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut seen, watch) = (Seen::default(), Watch::default());
        watch.begin();
        watch.stuck.store(true, Relaxed);
        for _ in 0..10 {
            watch.writes.fetch_add(1, Relaxed);
            assert_eq!(look(&mut seen, &watch), Order::None);
        }
        let looks: Vec<Order> = (0..4).map(|_| look(&mut seen, &watch)).collect();
        assert_eq!(looks, [Order::None, Order::None, Order::None, Order::Cut]);
    }
    #[test]
    fn requests_that_stand_still_for_longer_than_any_may_take_are_cut() {
        let (mut seen, watch) = (Seen::default(), Watch::default());
        watch.begin();
        let looks: Vec<Order> = (0..12).map(|_| look(&mut seen, &watch)).collect();
        assert_eq!((looks[10], looks[11]), (Order::None, Order::Cut));
    }

    #[test]
    fn orders_reach_those_who_listen_and_those_who_come_later() {
        let roster = Arc::new(Roster::default());
        let early = roster.join();
        roster.order_all(Order::Finish);
        let late = roster.join();
        assert_eq!((early.watch.orders(), late.watch.orders()), (Order::Finish, Order::Finish));
        roster.order_all(Order::Cut);
        roster.look(SECOND, SECOND, SECOND);
        assert_eq!(early.watch.orders(), Order::Cut);
        drop((early, late));
        assert!(roster.list.lock().connections.is_empty());
    }
}
