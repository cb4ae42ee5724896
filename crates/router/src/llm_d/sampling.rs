//! Which calls are timed: clocks cost more than most plugins.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use weir_pool::Time;

/// Between two decisions that are timed.
const EVERY: Duration = Duration::from_millis(1);

thread_local! {
    /// How many calls the one under way stands for; 0: it is not timed.
    static WEIGHT: Cell<u32> = const { Cell::new(0) };
}

/// Chooses what is timed: at most one call in each millisecond, which stands for those since the last one.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    /// Microseconds.
    due: AtomicU64,
    passed_over: AtomicU32,
}

impl Sampling {
    /// How many calls the one that begins now stands for; 0: it is not timed.
    pub(crate) fn weigh(&self, now: Time) -> u32 {
        let (now, due) = (now.as_micros(), self.due.load(Relaxed));
        let next = now + EVERY.as_micros() as u64;
        if now < due || self.due.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            self.passed_over.fetch_add(1, Relaxed);
            return 0;
        }
        self.passed_over.swap(0, Relaxed).saturating_add(1)
    }
}

/// Runs `call`, whose plugins are timed as if they were called `weight` times.
pub(crate) fn weighted<R>(weight: u32, call: impl FnOnce() -> R) -> R {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            WEIGHT.set(0);
        }
    }
    WEIGHT.set(weight);
    let _reset = Reset;
    call()
}

/// How many calls the one under way stands for.
pub(crate) fn weight() -> u32 {
    WEIGHT.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_counted_once_whether_it_is_timed_or_not() {
        let sampling = Sampling::default();
        let weights: Vec<u32> = [0, 10, 999, 1_000, 1_001, 5_000].map(|at| sampling.weigh(Time::from_micros(at))).into();
        assert_eq!(weights, [1, 0, 0, 3, 0, 2]);
        assert_eq!(weights.iter().sum::<u32>(), 6);
    }

    #[test]
    fn a_weight_ends_with_its_call() {
        assert_eq!(weighted(7, weight), 7);
        assert_eq!(weight(), 0);
    }
}
