//! Which holder was given which blocks.

#[cfg(test)]
mod tests;

use parking_lot::{Mutex, RwLock};

use crate::{
    holders::{Holders, place},
    identity::HashTable,
    lru::BlockLru,
};

/// Remembers the blocks that were sent to each holder and answers how many leading blocks of a prompt each one has.
///
/// It is approximate: it knows what was sent, not what an engine evicted since. Each holder keeps its most recently used blocks,
/// as many as its cache is said to hold. Holders are named by serial numbers that are never used again; inside they have dense
/// slots that are.
///
/// Past `limit_bytes` the holder with the most blocks forgets its oldest ones.
#[derive(Debug)]
pub struct ApproxIndex {
    limit_bytes: usize,
    shared: RwLock<Shared>,
    /// Held by whoever changes anything. Taken before `shared`.
    own: Mutex<Own>,
}

/// What lookups read.
#[derive(Debug, Default)]
struct Shared {
    blocks: HashTable<u64, Holders>,
    slots: HashTable<u32, u32>,
    /// Memory of the holder sets outside the table.
    outside_bytes: usize,
}

/// What only recording needs.
#[derive(Debug, Default)]
struct Own {
    /// By slot; `None`: the slot is free.
    holders: Vec<Option<BlockLru>>,
    /// All holders' blocks together.
    pairs: usize,
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    hash: u64,
    slot: u32,
    added: bool,
}

/// Sizes of an [`ApproxIndex`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Holders that have at least one block.
    pub holders: usize,
    /// Different blocks.
    pub blocks: usize,
    /// Blocks, counted once for each holder.
    pub held_blocks: usize,
    /// Memory in use, estimated from the counts.
    pub used_bytes: usize,
    /// Memory that may be used.
    pub limit_bytes: usize,
}

/// Working memory of lookups; keep it and they allocate nothing.
#[derive(Clone, Debug, Default)]
pub struct LookupScratch {
    /// Slots that hold every block so far: words that are not empty, with their numbers.
    alive: Vec<(usize, u64)>,
    /// By slot: leading blocks held.
    matched: Vec<u32>,
}

/// Bytes that one block costs in the table: key, holders, a control byte, and the room that growing leaves.
const BLOCK_BYTES: usize = (size_of::<(u64, Holders)>() + 1) * 3 / 2;

/// Changes made under one hold of the write lock, so that lookups wait for microseconds only.
const CHANGES_AT_ONCE: usize = 128;

impl ApproxIndex {
    /// An empty index of at most about `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, shared: RwLock::default(), own: Mutex::default() }
    }

    /// The blocks of a prompt were sent to a holder whose cache has room for `capacity_blocks` (at least 1). A prompt larger than
    /// that counts with its leading blocks. Its head counts as used more recently than its tail, so that what is forgotten first
    /// leaves a prefix that still matches.
    pub fn record(&self, holder: u32, hashes: &[u64], capacity_blocks: usize) {
        if hashes.is_empty() {
            return;
        }
        let capacity = capacity_blocks.max(1);
        let own = &mut *self.own.lock();
        let Some(slot) = self.slot(own, holder) else { return };
        let mut changes = std::mem::take(&mut own.changes);
        let Some(lru) = own.holders.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        for &hash in hashes[..hashes.len().min(capacity)].iter().rev() {
            if lru.touch(hash) {
                own.pairs += 1;
                changes.push(Change { hash, slot, added: true });
            }
        }
        while lru.len() > capacity
            && let Some(hash) = lru.pop_oldest()
        {
            own.pairs -= 1;
            changes.push(Change { hash, slot, added: false });
        }
        self.apply(&mut changes);
        while self.used_bytes(own.pairs) > self.limit_bytes {
            if !own.shrink_largest(&mut changes) {
                break;
            }
            self.apply(&mut changes);
        }
        own.changes = changes;
    }

    /// Writes to `matched[i]` how many leading blocks `holders[i]` has, in one contiguous run from the first. Further places of
    /// `matched` are left alone.
    pub fn longest(
        &self,
        hashes: &[u64],
        holders: impl Iterator<Item = u32> + Clone,
        matched: &mut [u32],
        scratch: &mut LookupScratch,
    ) {
        let shared = &*self.shared.read();
        let LookupScratch { alive, matched: by_slot } = scratch;
        alive.clear();
        for slot in holders.clone().filter_map(|holder| shared.slots.get(&holder)) {
            let (word, bit) = place(*slot);
            while alive.len() <= word {
                alive.push((alive.len(), 0));
            }
            alive[word].1 |= bit;
        }
        by_slot.clear();
        by_slot.resize(alive.len() * 64, 0);
        alive.retain(|(_, slots)| *slots != 0);

        let mut blocks = 0;
        for hash in hashes {
            let Some(found) = shared.blocks.get(hash) else { break };
            let words = found.words();
            alive.retain_mut(|(word, slots)| {
                let stay = *slots & words.get(*word).copied().unwrap_or(0);
                for_each_slot(*word, *slots ^ stay, |slot| by_slot[slot] = blocks);
                *slots = stay;
                stay != 0
            });
            if alive.is_empty() {
                break;
            }
            blocks += 1;
        }
        for (word, slots) in alive.iter() {
            for_each_slot(*word, *slots, |slot| by_slot[slot] = blocks);
        }
        for (holder, matched) in holders.zip(matched) {
            let slot = shared.slots.get(&holder);
            *matched = slot.and_then(|slot| by_slot.get(*slot as usize)).copied().unwrap_or(0);
        }
    }

    /// Forgets a holder. Returns whether it was known.
    pub fn remove_holder(&self, holder: u32) -> bool {
        let own = &mut *self.own.lock();
        // From here on no lookup asks for the slot; it is free again once no block names it.
        let Some(slot) = self.shared.write().slots.remove(&holder) else { return false };
        let Some(mut lru) = own.holders.get_mut(slot as usize).and_then(Option::take) else { return false };
        own.pairs -= lru.len();
        let mut changes = std::mem::take(&mut own.changes);
        while let Some(hash) = lru.pop_oldest() {
            changes.push(Change { hash, slot, added: false });
            if changes.len() == CHANGES_AT_ONCE {
                self.apply(&mut changes);
            }
        }
        self.apply(&mut changes);
        own.changes = changes;
        true
    }

    /// Forgets every holder that `keep` does not want. Returns how many.
    pub fn retain_holders(&self, mut keep: impl FnMut(u32) -> bool) -> usize {
        let gone: Vec<u32> = self.shared.read().slots.keys().copied().filter(|holder| !keep(*holder)).collect();
        gone.into_iter().filter(|holder| self.remove_holder(*holder)).count()
    }

    /// Number of holders.
    pub fn holders(&self) -> usize {
        self.shared.read().slots.len()
    }

    /// Number of different blocks.
    pub fn len(&self) -> usize {
        self.shared.read().blocks.len()
    }

    /// Whether there are no blocks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its sizes now.
    pub fn stats(&self) -> IndexStats {
        let own = self.own.lock();
        let used_bytes = self.used_bytes(own.pairs);
        let shared = self.shared.read();
        IndexStats {
            holders: shared.slots.len(),
            blocks: shared.blocks.len(),
            held_blocks: own.pairs,
            used_bytes,
            limit_bytes: self.limit_bytes,
        }
    }

    fn used_bytes(&self, pairs: usize) -> usize {
        let shared = self.shared.read();
        shared.blocks.len() * BLOCK_BYTES + shared.outside_bytes + pairs * BlockLru::BLOCK_BYTES
    }

    /// The slot of a holder, which gets one if it has none.
    fn slot(&self, own: &mut Own, holder: u32) -> Option<u32> {
        if let Some(slot) = self.shared.read().slots.get(&holder) {
            return Some(*slot);
        }
        let free = own.holders.iter().position(Option::is_none).unwrap_or(own.holders.len());
        let slot = u32::try_from(free).ok()?;
        if free == own.holders.len() {
            own.holders.push(None);
        }
        own.holders[free] = Some(BlockLru::default());
        self.shared.write().slots.insert(holder, slot);
        Some(slot)
    }

    /// Makes the changes and empties the list.
    fn apply(&self, changes: &mut Vec<Change>) {
        for some in changes.chunks(CHANGES_AT_ONCE) {
            let shared = &mut *self.shared.write();
            for change in some {
                shared.apply(*change);
            }
        }
        changes.clear();
    }
}

impl Shared {
    fn apply(&mut self, Change { hash, slot, added }: Change) {
        if added {
            self.outside_bytes += self.blocks.entry(hash).or_default().insert(slot);
        } else if let Some(holders) = self.blocks.get_mut(&hash)
            && holders.remove(slot)
        {
            self.outside_bytes -= holders.outside_bytes();
            self.blocks.remove(&hash);
        }
    }
}

impl Own {
    /// The holder with the most blocks forgets its oldest ones. Returns whether there was any.
    fn shrink_largest(&mut self, changes: &mut Vec<Change>) -> bool {
        let largest = self.holders.iter_mut().enumerate().filter_map(|(slot, lru)| lru.as_mut().map(|lru| (slot, lru)));
        let Some((slot, lru)) = largest.max_by_key(|(_, lru)| lru.len()) else { return false };
        for _ in 0..CHANGES_AT_ONCE {
            let Some(hash) = lru.pop_oldest() else { break };
            self.pairs -= 1;
            changes.push(Change { hash, slot: slot as u32, added: false });
        }
        !changes.is_empty()
    }
}

fn for_each_slot(word: usize, mut bits: u64, mut f: impl FnMut(usize)) {
    while bits != 0 {
        f(word * 64 + bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
