//! Which endpoint each session is bound to.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::RwLock;
use weir_pool::Time;

/// Sessions remembered at once; past that a new one replaces any other.
pub(super) const MAX_SESSIONS: usize = 65_536;

/// Sessions by id. One that is not used for a while is forgotten.
pub(super) struct Bindings {
    ttl: Duration,
    sweep_every: Duration,
    sessions: RwLock<HashMap<Box<[u8]>, Binding>>,
    /// Microseconds.
    next_sweep: AtomicU64,
}

struct Binding {
    /// The endpoint's serial number.
    endpoint: u32,
    /// Microseconds.
    used: AtomicU64,
}

impl Binding {
    fn expired(&self, now: Time, ttl: Duration) -> bool {
        now.since(Time::from_micros(self.used.load(Relaxed))) >= ttl
    }
}

impl Bindings {
    pub(super) fn new(ttl: Duration, sweep_every: Duration) -> Self {
        Self { ttl, sweep_every, sessions: RwLock::default(), next_sweep: AtomicU64::new(0) }
    }

    /// The session's endpoint; using it keeps it.
    pub(super) fn find(&self, id: &[u8], now: Time) -> Option<u32> {
        let sessions = self.sessions.read();
        let found = sessions.get(id).filter(|found| !found.expired(now, self.ttl))?;
        found.used.store(now.as_micros(), Relaxed);
        Some(found.endpoint)
    }

    pub(super) fn forget(&self, id: &[u8]) {
        self.sessions.write().remove(id);
    }

    /// Binds a session that has no endpoint, and forgets unused ones when it is time.
    pub(super) fn bind(&self, id: &[u8], endpoint: u32, now: Time) {
        self.sweep(now);
        if self.find(id, now).is_some() {
            return;
        }
        let mut sessions = self.sessions.write();
        if sessions.len() >= MAX_SESSIONS
            && !sessions.contains_key(id)
            && let Some(other) = sessions.keys().next().cloned()
        {
            sessions.remove(&other);
        }
        sessions.insert(id.into(), Binding { endpoint, used: AtomicU64::new(now.as_micros()) });
    }

    fn sweep(&self, now: Time) {
        let due = self.next_sweep.load(Relaxed);
        let next = (now + self.sweep_every).as_micros();
        if now.as_micros() >= due && self.next_sweep.compare_exchange(due, next, Relaxed, Relaxed).is_ok() {
            self.sessions.write().retain(|_, one| !one.expired(now, self.ttl));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sessions.read().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unused_is_swept_as_often_as_configured() {
        let left = |sweep_seconds: u64| {
            let bindings = Bindings::new(Duration::from_secs(300), Duration::from_secs(sweep_seconds));
            bindings.bind(b"a", 1, Time::ZERO);
            bindings.bind(b"b", 1, Time::from_millis(400_000));
            bindings.len()
        };
        assert_eq!((left(10), left(1_000)), (1, 2));
    }
}
