//! Notices that nothing moves any more.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};
use weir_api::Reason;

/// One timer for a whole stream; a piece only notes that it came.
pub(crate) struct Late {
    timer: Option<Pin<Box<Sleep>>>,
    idle: Duration,
    total: Instant,
    /// When something moved last, as far as it was noted.
    moved_at: Instant,
    moved: bool,
}

impl Late {
    /// Pieces may be `idle` apart, and the last one must be there at `total`.
    pub(crate) fn new(idle: Duration, total: Instant) -> Self {
        Self { timer: None, idle, total, moved_at: Instant::now(), moved: false }
    }

    /// Something moved.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }

    /// Ready when nothing moved for too long.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        if std::mem::take(&mut self.moved) {
            self.moved_at = Instant::now();
        }
        let deadline = self.total.min(self.moved_at + self.idle);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        // The timer stands where it was set first; it is moved on only when it fires.
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= self.total {
                return Poll::Ready(Reason::TotalTimeout);
            }
            if now >= deadline {
                return Poll::Ready(Reason::IdleTimeout);
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
