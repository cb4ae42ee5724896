//! What happened on a stream.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What was being done when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Operation {
    /// Listening for engines.
    #[error("bind")]
    Bind,
    /// Connecting to an engine.
    #[error("connect")]
    Connect,
    /// Subscribing.
    #[error("subscribe")]
    Subscribe,
    /// Receiving.
    #[error("recv")]
    Receive,
    /// Connecting for a repetition.
    #[error("replay-connect")]
    ReplayConnect,
    /// Too many repetitions at once.
    #[error("replay-capacity")]
    ReplayCapacity,
    /// Asking for a repetition.
    #[error("replay-send")]
    ReplaySend,
    /// A repetition with something missing.
    #[error("replay-incomplete")]
    ReplayIncomplete,
    /// A repetition that brought nothing in several attempts.
    #[error("replay-no-progress")]
    ReplayNoProgress,
}

impl Operation {
    const ALL: [Self; 9] = [
        Self::Bind,
        Self::Connect,
        Self::Subscribe,
        Self::Receive,
        Self::ReplayConnect,
        Self::ReplayCapacity,
        Self::ReplaySend,
        Self::ReplayIncomplete,
        Self::ReplayNoProgress,
    ];
}

/// What happened on one stream since it was first followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// The pool.
    pub pool: String,
    /// `host:port` of the endpoint, or `local-subscriber` where engines connect.
    pub endpoint: String,
    /// Whether the subscription stands.
    pub connected: bool,
    /// Messages received, repeated ones included.
    pub messages: u64,
    /// Subscriptions that were made again.
    pub reconnections: u64,
    /// Failures by what was being done.
    pub errors: Vec<(Operation, u64)>,
    /// Times that batches were missing.
    pub gaps: u64,
    /// Batches that were missed for good.
    pub lost: u64,
    /// Times that the engine began to count anew.
    pub restarts: u64,
    /// Repetitions that were asked for.
    pub replays: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connected: AtomicBool,
    pub(crate) messages: AtomicU64,
    pub(crate) reconnections: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) restarts: AtomicU64,
    pub(crate) replays: AtomicU64,
    errors: [AtomicU64; Operation::ALL.len()],
}

impl Counters {
    pub(crate) fn failed(&self, operation: Operation) {
        if let Some(place) = Operation::ALL.iter().position(|one| *one == operation) {
            self.errors[place].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn stats(&self, pool: &str, endpoint: &str) -> StreamStats {
        let errors = Operation::ALL.into_iter().zip(&self.errors).map(|(one, count)| (one, count.load(Relaxed)));
        StreamStats {
            pool: pool.to_owned(),
            endpoint: endpoint.to_owned(),
            connected: self.connected.load(Relaxed),
            messages: self.messages.load(Relaxed),
            reconnections: self.reconnections.load(Relaxed),
            errors: errors.filter(|(_, count)| *count > 0).collect(),
            gaps: self.gaps.load(Relaxed),
            lost: self.lost.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            replays: self.replays.load(Relaxed),
        }
    }
}
