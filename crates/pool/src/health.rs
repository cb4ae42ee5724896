//! Whether an endpoint may be given requests.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};

use crate::{Breaker, Time};

/// What probing and scraping say of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not asked yet. Used only if no endpoint of the pool is known to be ready.
    Unknown,
    /// It answers.
    Ready,
    /// It did not answer several times in a row.
    NotReady,
}

/// Readiness from outside, a circuit breaker from traffic, and draining.
#[derive(Debug, Default)]
pub struct Health {
    readiness: AtomicU8,
    failed_probes: AtomicU32,
    draining: AtomicBool,
    /// Opened by failing requests.
    pub breaker: Breaker,
}

/// Probes in a row that must fail before an endpoint counts as not ready.
const PROBES_TO_FAIL: u32 = 3;

impl Health {
    /// What probing says.
    pub fn readiness(&self) -> Readiness {
        match self.readiness.load(Relaxed) {
            0 => Readiness::Unknown,
            1 => Readiness::Ready,
            _ => Readiness::NotReady,
        }
    }

    /// A probe or scrape was answered. Returns whether that is news.
    pub fn probe_succeeded(&self) -> bool {
        self.failed_probes.store(0, Relaxed);
        self.readiness.swap(1, Relaxed) != 1
    }

    /// A probe or scrape failed. Returns whether the endpoint just became not ready. An endpoint that never answered is not
    /// ready after its first failure.
    pub fn probe_failed(&self) -> bool {
        let failed = self.failed_probes.fetch_add(1, Relaxed).saturating_add(1);
        if failed >= PROBES_TO_FAIL || self.readiness() == Readiness::Unknown {
            return self.readiness.swap(2, Relaxed) != 2;
        }
        false
    }

    /// The endpoint was removed: it finishes what it has and gets nothing new.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether it was removed.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether a request may be sent to it at `now`; an endpoint of unknown readiness may.
    pub fn may_serve(&self, now: Time) -> bool {
        !self.is_draining() && self.readiness() != Readiness::NotReady && self.breaker.would_allow(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_scrape_is_no_outage() {
        let health = Health::default();
        assert!(health.probe_succeeded() && !health.probe_succeeded());
        assert!(!health.probe_failed() && !health.probe_failed());
        assert!(health.may_serve(Time::ZERO));
        assert!(health.probe_failed() && !health.probe_failed());
        assert!(!health.may_serve(Time::ZERO));
        assert!(health.probe_succeeded());
        assert!(health.may_serve(Time::ZERO));
    }

    #[test]
    fn an_endpoint_that_never_answered_is_not_ready_at_once() {
        let health = Health::default();
        assert!(health.may_serve(Time::ZERO));
        assert!(health.probe_failed());
        assert!(!health.may_serve(Time::ZERO));
    }
}
