//! The waker of a connection that is driven by the task that uses it.
//!
//! hyper's client wakes "the connection's task" for every step that the two sides of its channels take. Here both sides are
//! polled in turn by one task, so such a wake only means "go round once more" and must not schedule the task again. A wake from
//! outside (the socket, a timer) must.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Wake, Waker},
};

use parking_lot::Mutex;

/// Somebody called since the last turn began.
const CALLED: u8 = 1;
/// The owner is polling.
const TURN: u8 = 2;

pub(crate) struct Nudge {
    state: AtomicU8,
    task: Mutex<Waker>,
}

impl Nudge {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { state: AtomicU8::new(CALLED), task: Mutex::new(Waker::noop().clone()) })
    }

    /// The owner begins to poll for `task`. Returns whether there is any point: false if nobody called since [`Nudge::rest`].
    pub(crate) fn begin(&self, task: &Waker) -> bool {
        let mut known = self.task.lock();
        if !known.will_wake(task) {
            known.clone_from(task);
        }
        drop(known);
        self.state.swap(TURN, Ordering::AcqRel) & CALLED != 0
    }

    /// The owner found nothing to do. False if somebody called meanwhile: then the turn goes on.
    pub(crate) fn rest(&self) -> bool {
        if self.state.compare_exchange(TURN, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return true;
        }
        self.state.store(TURN, Ordering::Release);
        false
    }

    /// The owner got what it wanted and will begin again by itself.
    pub(crate) fn leave(&self) {
        self.state.store(CALLED, Ordering::Release);
    }

    /// Whether somebody called since the owner rested.
    pub(crate) fn is_called(&self) -> bool {
        self.state.load(Ordering::Acquire) & CALLED != 0
    }
}

impl Wake for Nudge {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(CALLED, Ordering::AcqRel) == 0 {
            let task = self.task.lock().clone();
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_calls_from_outside_reach_the_task() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let nudge = Nudge::new();
        let waker = Waker::from(Arc::clone(&nudge));
        let woken = || count.0.load(Ordering::Relaxed);

        assert!(nudge.begin(&task), "the first turn has a point");
        waker.wake_by_ref();
        assert!(!nudge.rest(), "called during the turn: go on");
        assert!(nudge.rest());
        assert_eq!(woken(), 0);

        assert!(!nudge.begin(&task), "a poll that nobody called for");
        assert!(nudge.rest());

        waker.wake_by_ref();
        waker.wake_by_ref();
        assert_eq!(woken(), 1, "one wake is enough");
        assert!(nudge.begin(&task));
        nudge.leave();
        waker.wake_by_ref();
        assert_eq!(woken(), 1, "after leave the owner polls anyway");
        assert!(nudge.begin(&task));
    }

    #[test]
    fn an_idle_connection_keeps_no_task() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let nudge = Nudge::new();
        nudge.begin(&task);
        drop(task);
        assert_eq!(Arc::strong_count(&count), 2);
        nudge.begin(Waker::noop());
        assert!(nudge.rest() && !nudge.is_called());
        assert_eq!(Arc::strong_count(&count), 1);
        Waker::from(Arc::clone(&nudge)).wake();
        assert!(nudge.is_called(), "what happened meanwhile is noted");
    }
}
