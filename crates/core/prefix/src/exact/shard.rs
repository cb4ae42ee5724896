//! A part of the index: the keys with the same first bits.

use super::{
    holders::Sets,
    table::{Table, spread},
};
use crate::tier::Tiers;

/// Bits of a spread key that choose its shard.
pub(super) const SHARD_BITS: u32 = 8;

/// The shard of a key.
pub(super) fn shard_of(key: u64) -> usize {
    (spread(key) >> (64 - SHARD_BITS)) as usize
}

/// What a block takes in a table at the least load.
const BLOCK_BYTES: isize = 24;

/// What becomes of one holder's hold on one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: u64,
    pub(super) add: Tiers,
    pub(super) remove: Tiers,
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// Holders that came or went.
    pub(super) pairs: isize,
    /// Blocks that came or went.
    pub(super) blocks: isize,
    /// Memory.
    pub(super) bytes: isize,
}

#[derive(Debug)]
pub(super) struct Shard {
    table: Table,
    sets: Sets,
}

impl Default for Shard {
    fn default() -> Self {
        Self { table: Table::new(SHARD_BITS), sets: Sets::default() }
    }
}

impl Shard {
    pub(super) fn apply(&mut self, slot: u32, change: Change) -> Done {
        let before_bytes = self.sets.bytes();
        let key = spread(change.key);
        let mut done = Done::default();
        match self.table.get_mut(key) {
            Some(word) => {
                let before = self.sets.get(*word, slot);
                let after = Tiers((before.0 | change.add.0) & !change.remove.0);
                if after != before {
                    self.sets.set(word, slot, after);
                    done.pairs = isize::from(!after.is_empty()) - isize::from(!before.is_empty());
                    if *word == 0 {
                        self.table.remove(key);
                        done.blocks = -1;
                    }
                }
            }
            None => {
                let after = Tiers(change.add.0 & !change.remove.0);
                if key != 0 && !after.is_empty() {
                    let mut word = 0;
                    self.sets.set(&mut word, slot, after);
                    self.table.insert(key, word);
                    (done.pairs, done.blocks) = (1, 1);
                }
            }
        }
        done.bytes = self.sets.bytes() as isize - before_bytes as isize + done.blocks * BLOCK_BYTES;
        done
    }

    /// Writes to `out` those of `alive` that hold the block in one of `tiers`; returns how many.
    pub(super) fn intersect(&self, key: u64, tiers: Tiers, alive: &[u64], out: &mut [u64]) -> u32 {
        match self.table.get(spread(key)) {
            Some(word) => self.sets.intersect(word, tiers, alive, out),
            None => {
                out.fill(0);
                0
            }
        }
    }

    /// Moves those of `slots` to the front that hold the block in one of `tiers`; returns how many.
    pub(super) fn partition(&self, key: u64, tiers: Tiers, slots: &mut [u32]) -> usize {
        self.table.get(spread(key)).map_or(0, |word| self.sets.partition(word, tiers, slots))
    }

    /// The tiers in which a slot has the block.
    pub(super) fn tiers(&self, key: u64, slot: u32) -> Tiers {
        self.table.get(spread(key)).map_or(Tiers::NONE, |word| self.sets.get(word, slot))
    }

    /// Shows every holder of the block.
    pub(super) fn for_each_holder(&self, key: u64, f: impl FnMut(u32, Tiers)) {
        if let Some(word) = self.table.get(spread(key)) {
            self.sets.for_each(word, f);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
