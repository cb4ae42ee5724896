//! Which endpoint holds which blocks, as engines themselves say.

mod blocks;
mod holders;
mod holding;
mod lookup;
mod orphans;
mod parts;
mod shard;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::{
    holders::{MAX_SLOTS, place},
    holding::{Holding, Needs, Rules},
    shard::{Change, SHARD_BITS, Shard, shard_of},
};
pub use self::{
    holding::{Applied, Skipped},
    lookup::KvScratch,
};
use crate::{
    canonical::KeyHasher,
    event::Event,
    identity::HashTable,
    sync::{AtomicBool, AtomicUsize, Mutex, Ordering, RwLock},
    tier::{Tier, Tiers},
};

/// How a [`KvIndex`] names blocks, and how much it may keep.
#[derive(Clone, Copy, Debug)]
pub struct KvIndexConfig {
    /// Names blocks; both requests and events are hashed by it.
    pub hasher: KeyHasher,
    /// Tokens in a block. Engines may use others; equal ones cost least.
    pub block_tokens: u32,
    /// Memory of everything together.
    pub limit_bytes: usize,
    /// Memory of each endpoint's blocks that wait for their parent.
    pub orphan_bytes: usize,
}

/// An exact mirror of engines' caches, fed with their events.
///
/// Holders are named by serial numbers that are never used again, as in [`ApproxIndex`](crate::ApproxIndex); inside they have
/// dense slots. A block's holders are unlimited: two fit into the table's word, more take a list, many a bit each. What an endpoint
/// calls its blocks is kept per endpoint, so that clearing one costs its own blocks only, and no engine's names can be confused
/// with another's.
///
/// Past `limit_bytes` the endpoint with the most blocks forgets the ends of its oldest prefixes.
#[derive(Debug)]
pub struct KvIndex {
    rules: Rules,
    limit_bytes: usize,
    shards: Box<[RwLock<Shard>]>,
    registry: RwLock<Registry>,
    /// Sums over the shards.
    pairs: AtomicUsize,
    blocks: AtomicUsize,
    shard_bytes: AtomicUsize,
    /// Sum over the endpoints.
    holding_bytes: AtomicUsize,
    /// Somebody is making room.
    shrinking: AtomicBool,
}

/// Endpoints, and what lookups have to know of each.
#[derive(Debug, Default)]
struct Registry {
    /// By serial number; [`NO_SLOT`]: there is no such endpoint.
    slots: Vec<u32>,
    holders: usize,
    /// By slot.
    cells: Vec<Option<Arc<Cell>>>,
    /// By word of slots: what is held there may have holes on any tier, or on the accelerator.
    irregular: Vec<u64>,
    gpu_irregular: Vec<u64>,
    /// Slots that have more than the accelerator's memory.
    tiered: Vec<u64>,
    /// Of slots with several groups of layers.
    needs: HashTable<u32, Arc<[Needs]>>,
}

/// No slot.
const NO_SLOT: u32 = u32::MAX;
/// Serial numbers are small: those beyond are not taken.
const MAX_SERIAL: u32 = 1 << 24;

impl Registry {
    fn slot(&self, holder: u32) -> Option<u32> {
        self.slots.get(holder as usize).copied().filter(|slot| *slot != NO_SLOT)
    }

    /// The endpoints with their slots.
    fn holders(&self) -> impl Iterator<Item = (u32, u32)> {
        self.slots.iter().enumerate().filter(|(_, slot)| **slot != NO_SLOT).map(|(holder, slot)| (holder as u32, *slot))
    }

    fn set_bit(words: &mut [u64], slot: u32, on: bool) {
        let (word, bit) = place(slot);
        if let Some(word) = words.get_mut(word) {
            *word = if on { *word | bit } else { *word & !bit };
        }
    }
}

/// One endpoint.
#[derive(Debug)]
struct Cell {
    slot: u32,
    state: Mutex<Holding>,
    blocks: AtomicUsize,
    bytes: AtomicUsize,
}

/// What lookups know of an endpoint, to see whether it changed.
#[derive(Clone, Debug, PartialEq)]
struct Traits {
    regular: (bool, bool),
    tiered: bool,
    needs: Vec<Needs>,
}

impl Traits {
    fn of(holding: &Holding, block_tokens: u32) -> Self {
        Self {
            regular: holding.regular(),
            tiered: !holding.tiers.without(Tier::Gpu).is_empty(),
            needs: holding.needs(block_tokens),
        }
    }
}

/// Sizes of a [`KvIndex`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvIndexStats {
    /// Endpoints.
    pub holders: usize,
    /// Different blocks.
    pub blocks: usize,
    /// Blocks, counted once for each endpoint.
    pub held_blocks: usize,
    /// Engines' names of blocks.
    pub engine_blocks: usize,
    /// Memory of blocks and their holders.
    pub index_bytes: usize,
    /// Memory of engines' names and of what waits.
    pub engine_bytes: usize,
    /// Memory that may be used.
    pub limit_bytes: usize,
}

impl KvIndexStats {
    /// All memory.
    pub fn used_bytes(&self) -> usize {
        self.index_bytes + self.engine_bytes
    }
}

/// Changes for which an endpoint keeps memory.
const KEPT_CHANGES: usize = 4_096;
/// Blocks that are forgotten at once.
const FORGET_AT_ONCE: usize = 256;

impl KvIndex {
    /// An empty index.
    pub fn new(config: KvIndexConfig) -> Self {
        let KvIndexConfig { hasher, block_tokens, limit_bytes, orphan_bytes } = config;
        Self {
            rules: Rules { hasher, block_tokens: block_tokens.max(1), orphan_bytes },
            limit_bytes,
            shards: (0..1 << SHARD_BITS).map(|_| RwLock::default()).collect(),
            registry: RwLock::default(),
            pairs: AtomicUsize::new(0),
            blocks: AtomicUsize::new(0),
            shard_bytes: AtomicUsize::new(0),
            holding_bytes: AtomicUsize::new(0),
            shrinking: AtomicBool::new(false),
        }
    }

    /// Names blocks.
    pub fn hasher(&self) -> &KeyHasher {
        &self.rules.hasher
    }

    /// Tokens in a block.
    pub fn block_tokens(&self) -> u32 {
        self.rules.block_tokens
    }

    /// An engine says that something happened. Events of one holder must come in their order. `model` is what the stream is
    /// named after; blocks of an adapter go under the adapter's name.
    pub fn apply(&self, holder: u32, model: &str, event: &Event<'_>) -> Applied {
        let mut applied = Applied::default();
        self.change(holder, |rules, holding, out| applied = holding.apply(rules, model, event, out));
        self.make_room();
        applied
    }

    /// An engine started anew, or what is known of it is not to be trusted: everything it held is gone.
    pub fn clear(&self, holder: u32) {
        if self.cell(holder).is_some() {
            self.change(holder, |_, holding, out| holding.clear(out));
        }
    }

    /// A prompt with these blocks was sent to a holder: they count as held on [`Tier::Speculative`] until they are given to
    /// [`unexpect`](Self::unexpect), as often as they were expected.
    pub fn expect(&self, holder: u32, keys: &[u64]) {
        self.change(holder, |_, holding, out| holding.expect(keys, out));
        self.make_room();
    }

    /// Takes an [`expect`](Self::expect) back.
    pub fn unexpect(&self, holder: u32, keys: &[u64]) {
        if self.cell(holder).is_some() {
            self.change(holder, |_, holding, out| holding.unexpect(keys, out));
        }
    }

    /// Forgets a holder. Returns whether it was known.
    pub fn remove_holder(&self, holder: u32) -> bool {
        let Some(cell) = self.cell(holder) else { return false };
        {
            let mut holding = cell.state.lock();
            if holding.closed {
                return false;
            }
            holding.closed = true;
            let mut out = Vec::new();
            holding.clear(&mut out);
            holding.unexpect_all(&mut out);
            self.commit(cell.slot, &out);
            self.account(&cell, &holding);
        }
        // No block names the slot any more: it may be given to somebody else.
        let registry = &mut *self.registry.write();
        registry.slots[holder as usize] = NO_SLOT;
        registry.holders -= 1;
        if let Some(place) = registry.cells.get_mut(cell.slot as usize) {
            *place = None;
        }
        for words in [&mut registry.irregular, &mut registry.gpu_irregular, &mut registry.tiered] {
            Registry::set_bit(words, cell.slot, false);
        }
        registry.needs.remove(&cell.slot);
        true
    }

    /// Forgets every holder that `keep` does not want. Returns how many.
    pub fn retain_holders(&self, mut keep: impl FnMut(u32) -> bool) -> usize {
        let gone: Vec<u32> = self.registry.read().holders().map(|(holder, _)| holder).filter(|holder| !keep(*holder)).collect();
        gone.into_iter().filter(|holder| self.remove_holder(*holder)).count()
    }

    /// Blocks of a holder, as its engine names them.
    pub fn blocks_of(&self, holder: u32) -> usize {
        self.cell(holder).map_or(0, |cell| cell.blocks.load(Ordering::Relaxed))
    }

    /// Memory of a holder's blocks that wait for their parent.
    pub fn orphan_bytes_of(&self, holder: u32) -> usize {
        self.cell(holder).map_or(0, |cell| cell.state.lock().orphan_bytes())
    }

    /// The tiers on which a holder has a block.
    pub fn tiers_of(&self, holder: u32, key: u64) -> Tiers {
        let Some(cell) = self.cell(holder) else { return Tiers::NONE };
        self.shards[shard_of(key)].read().tiers(key, cell.slot)
    }

    /// Shows every holder of a block, in no order.
    pub fn for_each_holder(&self, key: u64, mut f: impl FnMut(u32, Tiers)) {
        let registry = self.registry.read();
        let by_slot: HashTable<u32, u32> = registry.holders().map(|(holder, slot)| (slot, holder)).collect();
        self.shards[shard_of(key)].read().for_each_holder(key, |slot, tiers| {
            if let Some(holder) = by_slot.get(&slot) {
                f(*holder, tiers);
            }
        });
    }

    /// Its sizes now.
    pub fn stats(&self) -> KvIndexStats {
        let (holders, engine_blocks) = {
            let registry = self.registry.read();
            let engine_blocks = registry.cells.iter().flatten().map(|cell| cell.blocks.load(Ordering::Relaxed)).sum();
            (registry.holders, engine_blocks)
        };
        KvIndexStats {
            holders,
            blocks: self.blocks.load(Ordering::Relaxed),
            held_blocks: self.pairs.load(Ordering::Relaxed),
            engine_blocks,
            index_bytes: self.shard_bytes.load(Ordering::Relaxed),
            engine_bytes: self.holding_bytes.load(Ordering::Relaxed),
            limit_bytes: self.limit_bytes,
        }
    }

    /// Changes what a holder has, which gets a slot if it has none.
    fn change(&self, holder: u32, with: impl FnOnce(&Rules, &mut Holding, &mut Vec<Change>)) {
        let Some(cell) = self.cell(holder).or_else(|| self.register(holder)) else { return };
        let holding = &mut *cell.state.lock();
        if holding.closed {
            return;
        }
        let mut out = std::mem::take(&mut holding.changes);
        let before = Traits::of(holding, self.rules.block_tokens);
        with(&self.rules, holding, &mut out);
        holding.tidy();
        let after = Traits::of(holding, self.rules.block_tokens);
        // What becomes irregular is known to be so before it can be seen, and what becomes regular only afterwards.
        let early = after.regular != (true, true) || after.tiered || !after.needs.is_empty();
        if before != after && early {
            self.note(cell.slot, &after);
        }
        self.commit(cell.slot, &out);
        if before != after && !early {
            self.note(cell.slot, &after);
        }
        self.account(&cell, holding);
        out.clear();
        out.shrink_to(KEPT_CHANGES);
        holding.changes = out;
    }

    fn note(&self, slot: u32, traits: &Traits) {
        let registry = &mut *self.registry.write();
        Registry::set_bit(&mut registry.irregular, slot, !traits.regular.0);
        Registry::set_bit(&mut registry.gpu_irregular, slot, !traits.regular.1);
        Registry::set_bit(&mut registry.tiered, slot, traits.tiered);
        match traits.needs.is_empty() {
            true => _ = registry.needs.remove(&slot),
            false => _ = registry.needs.insert(slot, traits.needs.as_slice().into()),
        }
    }

    fn commit(&self, slot: u32, changes: &[Change]) {
        let mut sum = shard::Done::default();
        for change in changes {
            let done = self.shards[shard_of(change.key)].write().apply(slot, *change);
            sum.pairs += done.pairs;
            sum.blocks += done.blocks;
            sum.bytes += done.bytes;
        }
        add(&self.pairs, sum.pairs);
        add(&self.blocks, sum.blocks);
        add(&self.shard_bytes, sum.bytes);
    }

    fn account(&self, cell: &Cell, holding: &Holding) {
        cell.blocks.store(holding.blocks(), Ordering::Relaxed);
        let now = holding.bytes();
        let before = cell.bytes.swap(now, Ordering::Relaxed);
        add(&self.holding_bytes, now as isize - before as isize);
    }

    fn cell(&self, holder: u32) -> Option<Arc<Cell>> {
        let registry = self.registry.read();
        registry.cells.get(registry.slot(holder)? as usize)?.clone()
    }

    fn register(&self, holder: u32) -> Option<Arc<Cell>> {
        let registry = &mut *self.registry.write();
        if let Some(slot) = registry.slot(holder) {
            return registry.cells.get(slot as usize)?.clone();
        }
        if holder > MAX_SERIAL {
            return None;
        }
        let free = registry.cells.iter().position(Option::is_none).unwrap_or(registry.cells.len());
        let slot = u32::try_from(free).ok().filter(|slot| *slot < MAX_SLOTS)?;
        let cell = Arc::new(Cell { slot, state: Mutex::default(), blocks: AtomicUsize::new(0), bytes: AtomicUsize::new(0) });
        if free == registry.cells.len() {
            registry.cells.push(None);
            let words = registry.cells.len().div_ceil(64);
            for list in [&mut registry.irregular, &mut registry.gpu_irregular, &mut registry.tiered] {
                list.resize(words, 0);
            }
        }
        registry.cells[free] = Some(Arc::clone(&cell));
        if registry.slots.len() <= holder as usize {
            registry.slots.resize(holder as usize + 1, NO_SLOT);
        }
        registry.slots[holder as usize] = slot;
        registry.holders += 1;
        Some(cell)
    }

    fn over(&self) -> bool {
        self.shard_bytes.load(Ordering::Relaxed) + self.holding_bytes.load(Ordering::Relaxed) > self.limit_bytes
    }

    /// Past the limit the largest endpoint forgets something. Whoever comes while somebody does this goes on.
    fn make_room(&self) {
        if !self.over() || self.shrinking.swap(true, Ordering::Acquire) {
            return;
        }
        while self.over() {
            let largest = {
                let registry = self.registry.read();
                registry.cells.iter().flatten().max_by_key(|cell| cell.blocks.load(Ordering::Relaxed)).cloned()
            };
            let Some(cell) = largest else { break };
            let holding = &mut *cell.state.lock();
            let mut out = Vec::new();
            let forgotten = holding.forget(FORGET_AT_ONCE, &mut out);
            holding.tidy();
            self.commit(cell.slot, &out);
            self.account(&cell, holding);
            if forgotten == 0 {
                break;
            }
        }
        self.shrinking.store(false, Ordering::Release);
    }
}

fn add(sum: &AtomicUsize, change: isize) {
    if change != 0 {
        sum.fetch_add(change as usize, Ordering::Relaxed);
    }
}
