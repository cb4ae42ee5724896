//! How long is waited for what.

use std::time::Duration;

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until a subscription that failed is made again.
    pub reconnect: Duration,
    /// Until a connection stands.
    pub connect: Duration,
    /// For the next batch of a repetition.
    pub replay_idle: Duration,
    /// For a whole repetition.
    pub replay_total: Duration,
    /// Between two attempts of one repetition.
    pub replay_backoff: Duration,
    /// After a repetition that failed until the next one; doubles up to `cooldown_max`.
    pub cooldown: Duration,
    /// The longest time between two repetitions that fail.
    pub cooldown_max: Duration,
    /// For the list of an endpoint's models, before its past is asked for.
    pub models: Duration,
    /// Between looks at the pools' endpoints.
    pub look: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            reconnect: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            replay_idle: Duration::from_secs(2),
            replay_total: Duration::from_secs(120),
            replay_backoff: Duration::from_millis(100),
            cooldown: Duration::from_secs(1),
            cooldown_max: Duration::from_secs(30),
            models: Duration::from_secs(3),
            look: Duration::from_millis(250),
        }
    }
}

/// Attempts of a repetition that bring nothing before it is given up.
pub(crate) const ATTEMPTS_WITHOUT_PROGRESS: u32 = 3;
/// Repetitions that run at once.
pub(crate) const REPLAYS_AT_ONCE: usize = 8;
