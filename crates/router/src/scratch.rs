//! Buffers that a thread reuses from request to request.

use std::cell::RefCell;

use fastrand::Rng;
use weir_protocol::Scanned;

use crate::{decide::Decide, llm_d::LastSeries};

/// Everything that one decision writes to on its way.
pub(crate) struct Scratch {
    pub(crate) scanned: Scanned,
    pub(crate) decide: Decide,
    pub(crate) random: Option<(u64, Rng)>,
    pub(crate) last_series: Option<LastSeries>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        scanned: Scanned::default(),
        decide: Decide::default(),
        random: None,
        last_series: None,
    });
}

/// Lends the thread's buffers. `f` must not route another request.
pub(crate) fn with<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(f)
}
