//! Longest prefixes.
//!
//! What an engine holds of a prompt is nearly always a prefix: blocks are stored front to back and dropped back to front. So a
//! lookup asks for every 64th block, and where somebody is missing it bisects. Endpoints that are known to have holes are asked
//! for block after block.

use super::{KvIndex, Needs, holders::place, shard::shard_of};
use crate::tier::{Tier, Tiers};

/// Blocks between two that are asked for while nobody is missing.
const STRIDE: usize = 64;

/// Working memory of lookups; keep it and they allocate nothing.
#[derive(Clone, Debug, Default)]
pub struct KvScratch {
    /// Slot of each holder asked for.
    slots: Vec<Option<u32>>,
    /// By slot: leading blocks held.
    matched: Vec<u32>,
    /// Holders asked for.
    asked: Vec<u64>,
    /// Those that may have holes.
    irregular: Vec<u64>,
    /// Sets of slots, one behind the other.
    stack: Vec<u64>,
    /// A short list of slots.
    few: Vec<u32>,
    probes: u64,
}

impl KvScratch {
    /// Blocks that were looked at since the start.
    pub fn probes(&self) -> u64 {
        self.probes
    }
}

impl KvIndex {
    /// Writes to `matched[i]` how many leading blocks `holders[i]` has on some of `tiers`, in one contiguous run from the first.
    /// Further places of `matched` are left alone. Returns whether one of the holders ever had anything outside the accelerator's
    /// memory.
    ///
    /// O(blocks / 64 + log 64 · different lengths), each with one short lock.
    pub fn longest(
        &self,
        keys: &[u64],
        holders: impl Iterator<Item = u32>,
        tiers: Tiers,
        matched: &mut [u32],
        scratch: &mut KvScratch,
    ) -> bool {
        let KvScratch { slots, matched: by_slot, asked, irregular, stack, few, probes } = scratch;
        slots.clear();
        asked.clear();
        irregular.clear();
        let (mut tiered, mut needy) = (false, false);
        {
            let registry = self.registry.read();
            asked.resize(registry.irregular.len(), 0);
            for holder in holders.take(matched.len()) {
                let slot = registry.slot(holder);
                if let Some(slot) = slot {
                    let (word, bit) = place(slot);
                    asked[word] |= bit;
                    needy |= !registry.needs.is_empty() && registry.needs.contains_key(&slot);
                }
                slots.push(slot);
            }
            let holes = if tiers == Tier::Gpu.bit() { &registry.gpu_irregular } else { &registry.irregular };
            irregular.extend(holes.iter().zip(asked.iter()).map(|(holes, asked)| holes & asked));
            tiered |= registry.tiered.iter().zip(asked.iter()).any(|(tiered, asked)| tiered & asked != 0);
        }
        by_slot.clear();
        by_slot.resize(asked.len() * 64, 0);
        if !keys.is_empty() && !asked.is_empty() {
            let mut search = Search { index: self, keys, tiers, words: asked.len(), by_slot, stack, few, probes };
            search.run(asked, irregular);
        }
        for (matched, slot) in matched.iter_mut().zip(slots.iter()) {
            *matched = slot.and_then(|slot| by_slot.get(slot as usize)).copied().unwrap_or(0);
        }
        if needy {
            self.cut(keys, tiers, slots, matched, probes);
        }
        tiered
    }

    /// Shortens matches to where every group of layers of the endpoint has what it needs.
    fn cut(&self, keys: &[u64], tiers: Tiers, slots: &[Option<u32>], matched: &mut [u32], probes: &mut u64) {
        let registry = self.registry.read();
        for (matched, slot) in matched.iter_mut().zip(slots) {
            let Some(slot) = slot.filter(|_| *matched > 0) else { continue };
            let Some(needs) = registry.needs.get(&slot) else { continue };
            loop {
                let before = *matched;
                for need in needs.iter() {
                    *matched = self.cut_for(keys, tiers, slot, *need, *matched, probes);
                }
                if *matched == before || *matched == 0 {
                    break;
                }
            }
        }
    }

    /// The longest prefix of at most `most` blocks at whose end a group of layers has what it needs.
    fn cut_for(&self, keys: &[u64], tiers: Tiers, slot: u32, need: Needs, most: u32, probes: &mut u64) -> u32 {
        let mut has = |block: u32| {
            *probes += 1;
            let key = super::blocks::mixed(keys[block as usize], need.mix);
            self.shards[shard_of(key)].read().tiers(key, slot).intersects(tiers)
        };
        let Some(window) = need.blocks else { return (0..most).find(|block| !has(*block)).unwrap_or(most) };
        let mut end = most;
        // Each look goes further to the front: if a block of the window is missing, the prefix ends before it.
        while end > 0 {
            let first = end.saturating_sub(window);
            match (first..end).rev().find(|block| !has(*block)) {
                Some(missing) => end = missing,
                None => break,
            }
        }
        end
    }
}

struct Search<'a> {
    index: &'a KvIndex,
    keys: &'a [u64],
    tiers: Tiers,
    /// Words of a set of slots.
    words: usize,
    by_slot: &'a mut [u32],
    /// The sets that are in use, one behind the other.
    stack: &'a mut Vec<u64>,
    few: &'a mut Vec<u32>,
    probes: &'a mut u64,
}

impl Search<'_> {
    fn run(&mut self, asked: &[u64], irregular: &[u64]) {
        let words = self.words;
        self.stack.clear();
        // Nearly everybody lacks the first block of a new prompt.
        self.stack.extend_from_slice(asked);
        let first = self.probe(0, 0);
        if self.is_empty(first) {
            return;
        }
        if irregular.iter().any(|word| *word != 0) {
            let some = self.push(|stack, at| stack[first + at] & irregular[at]);
            for at in 0..words {
                let word = self.stack[some + at];
                self.stack[first + at] &= !word;
            }
            self.one_by_one(some);
            self.stack.truncate(first + words);
        }
        self.strides(first);
    }

    /// Those in the set at `alive` have block 0 and no holes.
    fn strides(&mut self, alive: usize) {
        let words = self.words;
        let mut next = 1;
        while next < self.keys.len() && !self.is_empty(alive) {
            let end = (next + STRIDE).min(self.keys.len());
            let still = self.probe(alive, end - 1);
            let lost = self.push(|stack, at| stack[alive + at] & !stack[still + at]);
            if !self.is_empty(lost) {
                self.bisect(lost, next, end - 1);
                self.stack.copy_within(still..still + words, alive);
            }
            self.stack.truncate(alive + words);
            next = end;
        }
        self.conclude(alive, self.keys.len());
    }

    /// Those in the set at `lost` have every block before `from`, and not block `to`.
    fn bisect(&mut self, lost: usize, from: usize, to: usize) {
        if from == to {
            return self.conclude(lost, from);
        }
        let count: u32 = self.stack[lost..][..self.words].iter().map(|word| word.count_ones()).sum();
        if count as usize <= self.words {
            // Fewer than the words of a set: a list of them costs less.
            let mut few = std::mem::take(self.few);
            few.clear();
            for at in 0..self.words {
                for_each_slot(at, self.stack[lost + at], |slot| few.push(slot as u32));
            }
            self.bisect_few(&mut few, from, to);
            *self.few = few;
            return;
        }
        let middle = from + (to - from) / 2;
        let height = self.stack.len();
        let still = self.probe(lost, middle);
        let earlier = self.push(|stack, at| stack[lost + at] & !stack[still + at]);
        if !self.is_empty(earlier) {
            self.bisect(earlier, from, middle);
        }
        if !self.is_empty(still) {
            self.bisect(still, middle + 1, to);
        }
        self.stack.truncate(height);
    }

    /// The same for a list.
    fn bisect_few(&mut self, mut lost: &mut [u32], mut from: usize, mut to: usize) {
        while from < to && !lost.is_empty() {
            let middle = from + (to - from) / 2;
            *self.probes += 1;
            let key = self.keys[middle];
            let have = self.index.shards[shard_of(key)].read().partition(key, self.tiers, lost);
            let (still, earlier) = lost.split_at_mut(have);
            // The larger part goes on here, so that the other calls do not go deep.
            if still.len() > earlier.len() {
                self.bisect_few(earlier, from, middle);
                (lost, from) = (still, middle + 1);
            } else {
                self.bisect_few(still, middle + 1, to);
                (lost, to) = (earlier, middle);
            }
        }
        lost.iter().for_each(|slot| self.by_slot[*slot as usize] = from as u32);
    }

    /// Those in the set at `alive` have block 0 and perhaps holes.
    fn one_by_one(&mut self, alive: usize) {
        let words = self.words;
        for block in 1..self.keys.len() {
            let still = self.probe(alive, block);
            for at in 0..words {
                let lost = self.stack[alive + at] & !self.stack[still + at];
                for_each_slot(at, lost, |slot| self.by_slot[slot] = block as u32);
            }
            self.stack.copy_within(still..still + words, alive);
            self.stack.truncate(still);
            if self.is_empty(alive) {
                return;
            }
        }
        self.conclude(alive, self.keys.len());
    }

    /// Those in the set have this many blocks.
    fn conclude(&mut self, set: usize, blocks: usize) {
        for at in 0..self.words {
            for_each_slot(at, self.stack[set + at], |slot| self.by_slot[slot] = blocks as u32);
        }
    }

    /// Pushes those of the set at `among` who have a block. Returns where.
    fn probe(&mut self, among: usize, block: usize) -> usize {
        *self.probes += 1;
        let (key, place) = (self.keys[block], self.stack.len());
        self.stack.resize(place + self.words, 0);
        let (before, out) = self.stack.split_at_mut(place);
        self.index.shards[shard_of(key)].read().intersect(key, self.tiers, &before[among..][..self.words], out);
        place
    }

    fn push(&mut self, f: impl Fn(&[u64], usize) -> u64) -> usize {
        let place = self.stack.len();
        for at in 0..self.words {
            let word = f(self.stack, at);
            self.stack.push(word);
        }
        place
    }

    fn is_empty(&self, set: usize) -> bool {
        self.stack[set..][..self.words].iter().all(|word| *word == 0)
    }
}

fn for_each_slot(word: usize, mut bits: u64, mut f: impl FnMut(usize)) {
    while bits != 0 {
        f(word * 64 + bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
