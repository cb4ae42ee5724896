//! What the gateway keeps per endpoint: idle connections, and header values that never change.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderValue;
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use rustls::ClientConfig;
use weir_pool::{Endpoint, Time};

use super::{Conn, Outgoing};

/// Lives in [`Endpoint::transport`], so it goes with the endpoint.
pub(crate) struct Transport {
    /// `host:port`: the `Host` header towards the endpoint, and its name towards clients.
    pub(crate) authority: HeaderValue,
    /// Oldest first.
    idle: Mutex<Vec<Idle>>,
    /// The HTTP/2 connection, which all gRPC calls share; and what it was opened with.
    h2: Mutex<Option<Shared>>,
    /// Where the next dial begins in the list of addresses.
    turn: AtomicUsize,
}

/// An HTTP/2 connection.
struct Shared {
    sender: SendRequest<Outgoing>,
    tls: Option<Arc<ClientConfig>>,
}

struct Idle {
    conn: Box<Conn>,
    since: Time,
    /// What it was opened with: after a reload that changed it, the connection is of no use.
    tls: Option<Arc<ClientConfig>>,
}

impl Transport {
    /// The transport of an endpoint. `None` if something else took its place.
    pub(crate) fn of(endpoint: &Endpoint) -> Option<&Self> {
        endpoint.transport(|| Self {
            authority: HeaderValue::from_str(endpoint.authority()).unwrap_or_else(|_| HeaderValue::from_static("endpoint")),
            idle: Mutex::new(Vec::new()),
            h2: Mutex::new(None),
            turn: AtomicUsize::new(0),
        })
    }

    /// A connection that can be used at once: the one that rested least.
    pub(crate) fn checkout(&self, tls: Option<&Arc<ClientConfig>>, now: Time, max_age: Duration) -> Option<Box<Conn>> {
        loop {
            // A connection is examined, and dropped, without the lock.
            let idle = {
                let mut list = self.idle.lock();
                let idle = list.pop()?;
                if now.since(idle.since) > max_age {
                    let old = std::mem::take(&mut *list);
                    drop(list);
                    drop(old);
                    return None;
                }
                idle
            };
            let Idle { mut conn, tls: opened_with, .. } = idle;
            if opened_with.as_ref().map(Arc::as_ptr) == tls.map(Arc::as_ptr) && conn.unpark() {
                return Some(conn);
            }
        }
    }

    /// Keeps a connection whose response is over, if it can be used again and there is room.
    pub(crate) fn checkin(
        &self,
        mut conn: Box<Conn>,
        tls: Option<Arc<ClientConfig>>,
        now: Time,
        max_age: Duration,
        max_idle: usize,
    ) {
        if !conn.park() {
            return;
        }
        let mut list = self.idle.lock();
        let old = list.iter().take_while(|idle| now.since(idle.since) > max_age).count();
        let gone: Vec<Idle> = if old > 0 { list.drain(..old).collect() } else { Vec::new() };
        if list.len() < max_idle {
            list.push(Idle { conn, since: now, tls });
        }
        drop(list);
        drop(gone);
    }

    /// The HTTP/2 connection, if it takes calls.
    pub(crate) fn h2(&self, tls: Option<&Arc<ClientConfig>>) -> Option<SendRequest<Outgoing>> {
        let mut slot = self.h2.lock();
        let same_tls = |one: &Shared| one.tls.as_ref().map(Arc::as_ptr) == tls.map(Arc::as_ptr);
        if slot.as_ref().is_some_and(|one| one.sender.is_closed() || !same_tls(one)) {
            *slot = None;
        }
        slot.as_ref().map(|one| one.sender.clone())
    }

    /// Keeps a new HTTP/2 connection. Calls on the one before go on.
    pub(crate) fn keep_h2(&self, sender: SendRequest<Outgoing>, tls: Option<&Arc<ClientConfig>>) {
        *self.h2.lock() = Some(Shared { sender, tls: tls.cloned() });
    }

    /// Forgets all idle connections: the endpoint just proved that it closes them.
    pub(crate) fn clear(&self) {
        let gone = std::mem::take(&mut *self.idle.lock());
        drop(gone);
    }

    /// Spreads dials over the addresses of a name.
    pub(crate) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Relaxed)
    }
}
