//! The process's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use weir_pool::Time;

/// Monotonic time since it was made, or time that somebody sets.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Real(Instant),
    Set(Arc<AtomicU64>),
}

impl Default for Clock {
    fn default() -> Self {
        Self(Source::Real(Instant::now()))
    }
}

impl Clock {
    /// A clock that stands still until it is set; its clones show the same time.
    pub fn standing_at(time: Time) -> Self {
        Self(Source::Set(Arc::new(AtomicU64::new(time.as_micros()))))
    }

    /// Sets a clock that stands still; a running clock takes no notice.
    pub fn set(&self, time: Time) {
        if let Source::Set(micros) = &self.0 {
            micros.store(time.as_micros(), Relaxed);
        }
    }

    /// Now.
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::Real(origin) => Time::from_micros(u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX)),
            Source::Set(micros) => Time::from_micros(micros.load(Relaxed)),
        }
    }
}
