//! A server that is nothing but a cache.

use weir_prefix::{BatchWriter, BlockLru, StoredBlocks};

/// Blocks in the order of their last use.
#[derive(Debug, Default)]
pub(super) struct Server {
    blocks: BlockLru,
    capacity: usize,
}

impl Server {
    pub(super) fn new(capacity: usize) -> Self {
        Self { blocks: BlockLru::default(), capacity }
    }

    /// Leading blocks of a prompt that are here.
    pub(super) fn matched(&self, prompt: &[u32]) -> usize {
        prompt.iter().take_while(|id| self.blocks.contains(name(**id))).count()
    }

    /// Uses every block of a prompt, and says what changed by it.
    pub(super) fn serve(&mut self, prompt: &[u32], events: &mut BatchWriter) {
        let mut changes = Changes { prompt, first_new: None, removed: Vec::new() };
        for (at, id) in prompt.iter().enumerate() {
            if self.blocks.touch(name(*id)) {
                changes.first_new.get_or_insert(at);
                if self.blocks.len() > self.capacity
                    && let Some(oldest) = self.blocks.pop_oldest()
                {
                    changes.removed.push(oldest);
                    // A prompt larger than the cache pushes out its own beginning: the order counts.
                    if prompt.len() >= self.capacity {
                        changes.write(at + 1, events);
                    }
                }
            } else {
                changes.write(at, events);
            }
        }
        changes.write(prompt.len(), events);
    }
}

/// The engine's name of a block; 0 means that there is none.
pub(super) fn name(id: u32) -> u64 {
    u64::from(id) + 1
}

/// What is still to be said.
struct Changes<'a> {
    prompt: &'a [u32],
    /// Where the run of new blocks begins.
    first_new: Option<usize>,
    removed: Vec<u64>,
}

impl Changes<'_> {
    /// The run of new blocks ends before `end`.
    fn write(&mut self, end: usize, events: &mut BatchWriter) {
        if let Some(start) = self.first_new.take() {
            let tokens = &self.prompt[start..end];
            let hashes: Vec<u64> = tokens.iter().map(|id| name(*id)).collect();
            let parent = start.checked_sub(1).map(|before| name(self.prompt[before]));
            events.stored(&StoredBlocks {
                hashes: &hashes,
                parent,
                tokens,
                block_tokens: 1,
                medium: "GPU",
                ..Default::default()
            });
        }
        if !self.removed.is_empty() {
            events.removed(&self.removed, "GPU", None);
            self.removed.clear();
        }
    }
}
