//! A bound on retries: a share of the requests, and a floor per second, so that an outage is not answered by a storm.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use parking_lot::Mutex;
use weir_pool::Time;

use crate::settings::Retries;

/// Thousandths of a retry.
const RETRY: i64 = 1000;
/// Most retries that can be saved up.
const SAVED: i64 = 100 * RETRY;
/// The floor can be spent for so many seconds ahead: an endpoint that dies takes all its requests with it at once.
const FLOOR_SECONDS: f64 = 10.0;

pub(crate) struct RetryBudget {
    earned: AtomicI64,
    floor: Mutex<Floor>,
}

struct Floor {
    /// Part of the bucket that is spent, 0 when full: so that a reload may change the bucket's size.
    spent: f64,
    at: Time,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { earned: AtomicI64::new(0), floor: Mutex::new(Floor { spent: 0.0, at: Time::ZERO }) }
    }
}

impl RetryBudget {
    /// A request came in.
    pub(crate) fn deposit(&self, policy: &Retries) {
        #[expect(clippy::cast_possible_truncation, reason = "a ratio is a small number")]
        let share = (policy.ratio * RETRY as f64) as i64;
        if share > 0 && self.earned.load(Relaxed) < SAVED {
            self.earned.fetch_add(share, Relaxed);
        }
    }

    /// Asks for one retry.
    pub(crate) fn withdraw(&self, policy: &Retries, now: Time) -> bool {
        if self.earned.fetch_update(Relaxed, Relaxed, |earned| (earned >= RETRY).then_some(earned - RETRY)).is_ok() {
            return true;
        }
        let rate = f64::from(policy.min_per_second);
        let mut floor = self.floor.lock();
        floor.spent = (floor.spent - now.since(floor.at).as_secs_f64() * rate).max(0.0);
        floor.at = now;
        if floor.spent + 1.0 > rate * FLOOR_SECONDS {
            return false;
        }
        floor.spent += 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(budget: &RetryBudget, policy: &Retries, now: Time) -> u32 {
        (0..1000).take_while(|_| budget.withdraw(policy, now)).count() as u32
    }

    #[test]
    fn the_floor_fills_with_time_and_requests_earn_the_rest() {
        let policy = Retries { max_attempts: 3, ratio: 0.2, min_per_second: 2 };
        let budget = RetryBudget::default();
        let at = |s: u64| Time::from_millis(1000 * s);
        assert_eq!(count(&budget, &policy, at(1)), 20);
        assert_eq!(count(&budget, &policy, at(4)), 6);
        for _ in 0..50 {
            budget.deposit(&policy);
        }
        assert_eq!(count(&budget, &policy, at(4)), 10);
        for _ in 0..1_000_000 {
            budget.deposit(&policy);
        }
        assert_eq!(count(&budget, &policy, at(4)), 100, "savings are bounded");
    }

    #[test]
    fn without_floor_and_share_there_is_none() {
        let policy = Retries { max_attempts: 3, ratio: 0.0, min_per_second: 0 };
        let budget = RetryBudget::default();
        budget.deposit(&policy);
        assert!(!budget.withdraw(&policy, Time::from_millis(100_000)));
    }
}
