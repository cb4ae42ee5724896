//! What time it is, for [`weir_pool`].

use std::sync::Arc;

use tokio::time::Instant;
use weir_pool::Time;

/// Tells the time; shared by everything that stamps or compares times of one pool.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// Time since it was made. Follows tokio's clock, also where a test has paused that.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// The same as a shared function.
    pub fn shared(self) -> Clock {
        Arc::new(move || self.now())
    }
}
