//! A paged KV cache with prefix reuse.
//!
//! A block is *pinned* while sequences hold it, *unused* when none does but its content can still be found by hash, *blank*
//! otherwise. Pinned + unused + blank = capacity. New blocks come from the blank ones, then from the least recently released
//! unused one. A sequence's blocks are released back to front, so that chains lose their ends before their beginnings.
//!
//! Cost: O(1) a block; memory for the blocks that were ever touched.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::{config::KvConfig, request::AdapterId};

#[cfg(test)]
mod tests;

/// Names a block of one cache.
pub type BlockId = u32;

/// Something happened to what a cache can find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvChange {
    /// Blocks of one chain can be found now.
    Stored {
        /// The adapter that computed them.
        adapter: AdapterId,
        /// Their names, in order: the chain hashes, for adapters mixed with the adapter's number.
        hashes: Vec<u64>,
        /// The name of the one before them; `None`: they begin a prompt.
        parent: Option<u64>,
        /// The tokens of all of them; empty where the request brought none.
        tokens: Vec<u32>,
    },
    /// A block was pushed out.
    Removed {
        /// Its name.
        hash: u64,
    },
    /// Everything was forgotten.
    Cleared,
}

/// All blocks are pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kv cache does not have sufficient capacity to store this request")]
pub struct NoCapacity;

const NIL: u32 = u32::MAX;

/// Content of a block: chain hash, and the adapter that computed it.
type Key = (u64, AdapterId);

/// What a content is called where adapters have no part in the chain hash.
fn name((hash, adapter): Key) -> u64 {
    hash ^ u64::from(adapter.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[derive(Debug, Clone)]
struct Block {
    key: Option<Key>,
    refs: u32,
    prev: u32,
    next: u32,
}

/// See the module's first lines.
#[derive(Debug, Clone)]
pub struct KvCache {
    config: KvConfig,
    blocks: Vec<Block>,
    index: HashMap<Key, BlockId, BuildHasherDefault<Mixer>>,
    blank: Vec<BlockId>,
    oldest: u32,
    newest: u32,
    pinned: u32,
    unused: u32,
    stored: u64,
    evicted: u64,
    /// What happened since it was last asked for; `None`: nobody asks.
    changes: Option<Vec<KvChange>>,
}

impl KvCache {
    /// An empty cache; zero blocks or tokens a block count as 1.
    pub fn new(config: KvConfig) -> Self {
        let config = KvConfig { blocks: config.blocks.clamp(1, NIL - 1), block_size: config.block_size.max(1), ..config };
        Self {
            config,
            blocks: Vec::new(),
            index: HashMap::default(),
            blank: Vec::new(),
            oldest: NIL,
            newest: NIL,
            pinned: 0,
            unused: 0,
            stored: 0,
            evicted: 0,
            changes: None,
        }
    }

    /// From now on what happens is kept for [`Self::take_changes`].
    pub fn record_changes(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// What happened since this was last asked for, in order.
    pub fn take_changes(&mut self) -> Vec<KvChange> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn note(&mut self, change: impl FnOnce() -> KvChange) {
        if let Some(changes) = &mut self.changes {
            changes.push(change());
        }
    }

    /// The blocks `from..to` of a chain were stored: said as one.
    pub(crate) fn note_stored(&mut self, adapter: AdapterId, blocks: &[u64], run: std::ops::Range<usize>, tokens: &[u32]) {
        let size = self.config.block_size as usize;
        self.note(|| KvChange::Stored {
            adapter,
            hashes: blocks[run.clone()].iter().map(|hash| name((*hash, adapter))).collect(),
            parent: run.start.checked_sub(1).map(|before| name((blocks[before], adapter))),
            tokens: tokens.get(run.start * size..run.end * size).unwrap_or_default().to_vec(),
        });
    }

    /// Blocks.
    pub fn capacity(&self) -> u32 {
        self.config.blocks
    }

    /// Tokens a block.
    pub fn block_size(&self) -> u32 {
        self.config.block_size
    }

    /// Blocks held by sequences.
    pub fn pinned(&self) -> u32 {
        self.pinned
    }

    /// Blocks held by nobody whose content can still be found.
    pub fn unused(&self) -> u32 {
        self.unused
    }

    /// Contents stored since the start.
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Contents pushed out by newer ones since the start.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many sequences hold this content.
    pub fn refs(&self, adapter: AdapterId, hash: u64) -> u32 {
        self.index.get(&(hash, adapter)).map_or(0, |&id| self.blocks[id as usize].refs)
    }

    /// Length of the leading run of `hashes` that is cached.
    pub fn leading_run(&self, adapter: AdapterId, hashes: &[u64]) -> usize {
        if !self.config.prefix_caching {
            return 0;
        }
        hashes.iter().take_while(|&&hash| self.index.contains_key(&(hash, adapter))).count()
    }

    /// Pins the cached blocks `hits` (a leading run, from [`Self::leading_run`]) and new ones until `held` has `total`.
    ///
    /// # Errors
    /// [`NoCapacity`] leaves everything as it was.
    pub fn open(&mut self, adapter: AdapterId, hits: &[u64], total: usize, held: &mut Vec<BlockId>) -> Result<(), NoCapacity> {
        let found: Vec<BlockId> = hits.iter().map_while(|&hash| self.index.get(&(hash, adapter)).copied()).collect();
        let revived = found.iter().filter(|&&id| self.blocks[id as usize].refs == 0).count();
        let fresh = total.saturating_sub(held.len() + found.len());
        if revived + fresh > (self.capacity() - self.pinned) as usize {
            return Err(NoCapacity);
        }
        for id in found {
            if self.blocks[id as usize].refs == 0 {
                self.unlink(id);
                self.pinned += 1;
            }
            self.blocks[id as usize].refs += 1;
            held.push(id);
        }
        self.grow(fresh, held)
    }

    /// Pins `count` new blocks.
    ///
    /// # Errors
    /// [`NoCapacity`] leaves everything as it was.
    pub fn grow(&mut self, count: usize, held: &mut Vec<BlockId>) -> Result<(), NoCapacity> {
        if count > (self.capacity() - self.pinned) as usize {
            return Err(NoCapacity);
        }
        for _ in 0..count {
            let id = self.take_free();
            self.blocks[id as usize].refs = 1;
            self.pinned += 1;
            held.push(id);
        }
        Ok(())
    }

    /// Says what a pinned block holds, so that others find it. A content that is cached already stays where it is. Returns whether
    /// it can be found only since now.
    pub fn store(&mut self, block: BlockId, adapter: AdapterId, hash: u64) -> bool {
        if !self.config.prefix_caching || self.blocks[block as usize].key.is_some() {
            return false;
        }
        if let std::collections::hash_map::Entry::Vacant(entry) = self.index.entry((hash, adapter)) {
            entry.insert(block);
            self.blocks[block as usize].key = Some((hash, adapter));
            self.stored += 1;
            return true;
        }
        false
    }

    /// Lets go of a sequence's blocks.
    pub fn release(&mut self, held: &mut Vec<BlockId>) {
        while let Some(id) = held.pop() {
            let block = &mut self.blocks[id as usize];
            block.refs -= 1;
            if block.refs > 0 {
                continue;
            }
            self.pinned -= 1;
            if block.key.is_some() {
                self.link_newest(id);
            } else {
                self.blank.push(id);
            }
        }
    }

    /// Forgets every content, also of pinned blocks.
    pub fn reset(&mut self) {
        self.forget_where(|_| true);
        self.note(|| KvChange::Cleared);
    }

    /// Forgets every content of an adapter: nothing of it is found any more, and its unused blocks are the first to go.
    pub fn forget(&mut self, adapter: AdapterId) {
        for key in self.forget_where(|key| key.1 == adapter) {
            self.note(|| KvChange::Removed { hash: name(key) });
        }
    }

    fn forget_where(&mut self, matches: impl Fn(&Key) -> bool) -> Vec<Key> {
        let gone: Vec<(Key, BlockId)> = self.index.iter().filter(|(key, _)| matches(key)).map(|(&key, &id)| (key, id)).collect();
        let mut blank: Vec<BlockId> = Vec::new();
        for &(key, id) in &gone {
            self.index.remove(&key);
            self.blocks[id as usize].key = None;
            if self.blocks[id as usize].refs == 0 {
                self.unlink(id);
                blank.push(id);
            }
        }
        blank.sort_unstable();
        self.blank.extend(blank);
        gone.into_iter().map(|(key, _)| key).collect()
    }

    /// A block that nobody holds; the caller has checked that there is one.
    fn take_free(&mut self) -> BlockId {
        if let Some(id) = self.blank.pop() {
            return id;
        }
        if self.blocks.len() < self.capacity() as usize {
            self.blocks.push(Block { key: None, refs: 0, prev: NIL, next: NIL });
            return self.blocks.len() as u32 - 1;
        }
        let id = self.oldest;
        self.unlink(id);
        if let Some(key) = self.blocks[id as usize].key.take() {
            self.index.remove(&key);
            self.evicted += 1;
            self.note(|| KvChange::Removed { hash: name(key) });
        }
        id
    }

    fn link_newest(&mut self, id: BlockId) {
        let prev = std::mem::replace(&mut self.newest, id);
        let block = &mut self.blocks[id as usize];
        block.prev = prev;
        block.next = NIL;
        match prev {
            NIL => self.oldest = id,
            _ => self.blocks[prev as usize].next = id,
        }
        self.unused += 1;
    }

    fn unlink(&mut self, id: BlockId) {
        let Block { prev, next, .. } = self.blocks[id as usize];
        match prev {
            NIL => self.oldest = next,
            _ => self.blocks[prev as usize].next = next,
        }
        match next {
            NIL => self.newest = prev,
            _ => self.blocks[next as usize].prev = prev,
        }
        self.unused -= 1;
    }
}

/// The keys are hashes already: one multiplication spreads them over the table.
#[derive(Debug, Clone, Copy, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
