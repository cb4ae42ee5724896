//! Buffers that a thread reuses from request to request.

use std::cell::RefCell;

use fastrand::Rng;
use weir_plan::{Attributes, Candidates};
use weir_pool::EndpointState;
use weir_protocol::Scanned;

/// Everything that one decision writes to on its way.
pub(crate) struct Scratch {
    pub(crate) scanned: Scanned,
    pub(crate) attributes: Attributes,
    pub(crate) states: Vec<EndpointState>,
    pub(crate) candidates: Candidates,
    pub(crate) cycle: weir_schedule::Scratch,
    pub(crate) random: Option<(u64, Rng)>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        scanned: Scanned::default(),
        attributes: Attributes::default(),
        states: Vec::new(),
        candidates: Candidates::new(),
        cycle: weir_schedule::Scratch::default(),
        random: None,
    });
}

/// Lends the thread's buffers. `f` must not route another request.
pub(crate) fn with<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(f)
}
