//! Which adapters are loaded: at most `max_loras`, an idle one makes room for another.

use crate::request::AdapterId;

#[derive(Debug, Clone)]
pub(crate) struct LoraSlots {
    limit: usize,
    /// Least recently used first.
    slots: Vec<(AdapterId, u32)>,
}

impl LoraSlots {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit: limit.max(1) as usize, slots: Vec::new() }
    }

    /// Whether a sequence of this adapter could start now.
    pub(crate) fn admits(&self, adapter: AdapterId) -> bool {
        adapter == AdapterId::BASE
            || self.slots.len() < self.limit
            || self.slots.iter().any(|&(loaded, running)| loaded == adapter || running == 0)
    }

    /// Starts one; only after [`Self::admits`].
    pub(crate) fn start(&mut self, adapter: AdapterId) {
        if adapter == AdapterId::BASE {
            return;
        }
        let running = match self.slots.iter().position(|slot| slot.0 == adapter) {
            Some(at) => self.slots.remove(at).1,
            None => {
                if self.slots.len() >= self.limit
                    && let Some(idle) = self.slots.iter().position(|slot| slot.1 == 0)
                {
                    self.slots.remove(idle);
                }
                0
            }
        };
        self.slots.push((adapter, running + 1));
    }

    pub(crate) fn stop(&mut self, adapter: AdapterId) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.0 == adapter) {
            slot.1 = slot.1.saturating_sub(1);
        }
    }

    /// Frees the place of an adapter that nobody runs.
    pub(crate) fn unload(&mut self, adapter: AdapterId) {
        self.slots.retain(|&(loaded, running)| loaded != adapter || running > 0);
    }
}
