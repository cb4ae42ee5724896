//! A circuit breaker: an endpoint that keeps failing is left alone, then tried with one real request.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;

use crate::Time;

/// When a circuit opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it; 0 switches the breaker off.
    pub consecutive_failures: u32,
    /// How long it stays open the first time; doubles with each failed probe.
    pub open_for: Duration,
    /// Longest time it stays open.
    pub max_open_for: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { consecutive_failures: 5, open_for: Duration::from_secs(1), max_open_for: Duration::from_secs(30) }
    }
}

/// What a breaker does with the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets everything through.
    Closed,
    /// Lets nothing through until its time has passed.
    Open,
    /// Lets one request through, and waits for its outcome.
    HalfOpen,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Time, wait: Duration },
    Probing { since: Time, wait: Duration },
}

/// Counts connect errors, time-outs, resets and 5xx. Whoever reports must not report 4xx: those are the client's.
#[derive(Debug)]
pub struct Breaker {
    /// Failures in a row while closed; `TRIPPED` while not closed, so that the hot path reads one atomic.
    failures: AtomicU32,
    state: Mutex<State>,
}

const TRIPPED: u32 = u32::MAX;
/// A probe whose outcome nobody reported (its client left before the first byte) is forgotten after this long.
const PROBE_PATIENCE: Duration = Duration::from_secs(30);

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: AtomicU32::new(0), state: Mutex::new(State::Closed) }
    }
}

impl Breaker {
    /// Whether a request sent at `now` would be let through; changes nothing.
    pub fn would_allow(&self, now: Time) -> bool {
        self.failures.load(Relaxed) != TRIPPED
            || match &*self.state.lock() {
                State::Closed => true,
                State::Open { until, .. } => now >= *until,
                State::Probing { since, .. } => now.since(*since) > PROBE_PATIENCE,
            }
    }

    /// Asks to send one request at `now`. If the circuit was open long enough, that request is the probe.
    pub fn acquire(&self, now: Time) -> bool {
        if self.failures.load(Relaxed) != TRIPPED {
            return true;
        }
        let mut state = self.state.lock();
        match *state {
            State::Closed => true,
            State::Open { until, wait } if now >= until => {
                *state = State::Probing { since: now, wait };
                true
            }
            State::Probing { since, wait } if now.since(since) > PROBE_PATIENCE => {
                *state = State::Probing { since: now, wait };
                true
            }
            State::Open { .. } | State::Probing { .. } => false,
        }
    }

    /// The endpoint answered, with whatever status below 500.
    pub fn success(&self) {
        if self.failures.load(Relaxed) == 0 {
            return;
        }
        *self.state.lock() = State::Closed;
        self.failures.store(0, Relaxed);
    }

    /// The endpoint failed at `now`.
    pub fn failure(&self, config: &BreakerConfig, now: Time) {
        if config.consecutive_failures == 0 {
            return;
        }
        let mut state = self.state.lock();
        match *state {
            State::Closed => {
                let failures = self.failures.load(Relaxed).saturating_add(1);
                if failures >= config.consecutive_failures {
                    *state = State::Open { until: now + config.open_for, wait: config.open_for };
                    self.failures.store(TRIPPED, Relaxed);
                } else {
                    self.failures.store(failures, Relaxed);
                }
            }
            State::Probing { wait, .. } => {
                let wait = (wait * 2).min(config.max_open_for);
                *state = State::Open { until: now + wait, wait };
            }
            State::Open { .. } => {}
        }
    }

    /// A request that was let through ended with no verdict on the endpoint: the client left.
    pub fn abandoned(&self, now: Time) {
        if self.failures.load(Relaxed) != TRIPPED {
            return;
        }
        let mut state = self.state.lock();
        if let State::Probing { wait, .. } = *state {
            *state = State::Open { until: now, wait };
        }
    }

    /// For people: what it does now.
    pub fn state(&self, now: Time) -> BreakerState {
        match &*self.state.lock() {
            State::Closed => BreakerState::Closed,
            State::Open { until, .. } if now < *until => BreakerState::Open,
            State::Open { .. } | State::Probing { .. } => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig =
        BreakerConfig { consecutive_failures: 3, open_for: Duration::from_secs(1), max_open_for: Duration::from_secs(3) };

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn tripped() -> Breaker {
        let breaker = Breaker::default();
        for _ in 0..3 {
            assert!(breaker.acquire(at(0)));
            breaker.failure(&CONFIG, at(0));
        }
        breaker
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failure(&CONFIG, at(0));
            breaker.failure(&CONFIG, at(0));
            breaker.success();
        }
        assert_eq!(breaker.state(at(0)), BreakerState::Closed);
    }

    #[test]
    fn half_open_lets_exactly_one_real_request_through() {
        let breaker = tripped();
        assert!(!breaker.would_allow(at(999)) && !breaker.acquire(at(999)));
        assert!(breaker.would_allow(at(1000)));
        assert!(breaker.acquire(at(1000)));
        assert!(!breaker.would_allow(at(1001)) && !breaker.acquire(at(1001)));
        breaker.success();
        assert!(breaker.acquire(at(1002)) && breaker.acquire(at(1002)));
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_the_limit() {
        let breaker = tripped();
        let mut now = 1000;
        for wait in [2000, 3000, 3000] {
            assert!(breaker.acquire(at(now)));
            breaker.failure(&CONFIG, at(now));
            assert!(!breaker.acquire(at(now + wait - 1)));
            now += wait;
        }
    }

    #[test]
    fn a_probe_without_a_verdict_does_not_lock_the_endpoint_out() {
        let breaker = tripped();
        assert!(breaker.acquire(at(1000)));
        breaker.abandoned(at(1500));
        assert!(breaker.acquire(at(1500)));
        assert!(!breaker.acquire(at(2000)));
        assert!(breaker.acquire(at(1500 + 30_001)));
    }
}
