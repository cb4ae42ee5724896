//! What was sent and not yet said to have arrived.

use std::{collections::VecDeque, time::Duration};

use weir_pool::Time;

/// Blocks that are remembered at once, over all requests.
const MAX_BLOCKS: usize = 4 << 20;

#[derive(Debug)]
struct Sent {
    until: Time,
    holder: u32,
    keys: Box<[u64]>,
}

/// Prompts that were sent, in order.
#[derive(Debug, Default)]
pub(super) struct Expected {
    sent: VecDeque<Sent>,
    blocks: usize,
    next_purge: Time,
}

impl Expected {
    /// One more. `forget` is told of those that there is no room for.
    pub(super) fn push(&mut self, until: Time, holder: u32, keys: &[u64], mut forget: impl FnMut(u32, &[u64])) {
        self.blocks += keys.len();
        self.sent.push_back(Sent { until, holder, keys: keys.into() });
        while self.blocks > MAX_BLOCKS
            && let Some(oldest) = self.sent.pop_front()
        {
            self.blocks -= oldest.keys.len();
            forget(oldest.holder, &oldest.keys);
        }
    }

    /// Tells `forget` of those whose time is over. They all have the same, so that the oldest ends first.
    pub(super) fn expire(&mut self, now: Time, mut forget: impl FnMut(u32, &[u64])) {
        while let Some(oldest) = self.sent.pop_front_if(|sent| sent.until <= now) {
            self.blocks -= oldest.keys.len();
            forget(oldest.holder, &oldest.keys);
        }
    }

    /// Whether it is time to look for endpoints that are gone.
    pub(super) fn purge_due(&mut self, now: Time, every: Duration) -> bool {
        let due = now >= self.next_purge;
        if due {
            self.next_purge = now + every;
        }
        due
    }
}
