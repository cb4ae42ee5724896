//! Blocks whose parent is not known: kept until it is, within a budget.

use std::collections::{HashMap, HashSet, VecDeque};

use super::parts::OwnedKey;
use crate::{extras::Extras, identity::HashTable, tier::Tier};

/// Blocks of a chain, as an event tells of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// The engine's names.
    pub(super) hashes: &'a [u64],
    /// Tokens of all blocks.
    pub(super) tokens: &'a [u32],
    /// Tokens of each block.
    pub(super) block_tokens: u32,
    pub(super) tier: Tier,
    /// By block of the engine.
    pub(super) extras: &'a Extras<'a>,
}

/// A run that is kept.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) hashes: Box<[u64]>,
    pub(super) tokens: Box<[u32]>,
    pub(super) block_tokens: u32,
    pub(super) tier: Tier,
    pub(super) extras: Box<[(u32, OwnedKey)]>,
}

impl Orphan {
    fn of(run: &Run<'_>) -> Self {
        Self {
            hashes: run.hashes.into(),
            tokens: run.tokens.into(),
            block_tokens: run.block_tokens,
            tier: run.tier,
            extras: run.extras.iter().filter_map(|(block, key)| Some((block, OwnedKey::of(key)?))).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let extras: usize = self.extras.iter().map(|(_, key)| key.bytes() + 8).sum();
        size_of::<Self>() + self.hashes.len() * 8 + self.tokens.len() * 4 + extras
    }

    pub(super) fn extras(&self) -> Extras<'_> {
        let mut extras = Extras::default();
        self.extras.iter().for_each(|(block, key)| extras.push(*block, key.as_key()));
        extras
    }
}

#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// By parent.
    waiting: HashTable<u64, Vec<Orphan>>,
    /// Parents, oldest first.
    order: VecDeque<u64>,
    /// Blocks that were removed while they may have been waiting.
    removed: HashSet<u64>,
    bytes: usize,
}

/// What one removed name costs.
const REMOVED_BYTES: usize = 16;

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.removed.len() * REMOVED_BYTES
    }

    /// Keeps a run until `parent` is known; past `limit_bytes` the oldest ones are forgotten.
    pub(super) fn keep(&mut self, parent: u64, run: &Run<'_>, limit_bytes: usize) {
        let orphan = Orphan::of(run);
        if orphan.bytes() > limit_bytes {
            return;
        }
        if !self.removed.is_empty() {
            run.hashes.iter().for_each(|hash| _ = self.removed.remove(hash));
        }
        self.bytes += orphan.bytes();
        let siblings = self.waiting.entry(parent).or_default();
        if siblings.is_empty() {
            self.order.push_back(parent);
        }
        siblings.push(orphan);
        while self.bytes() > limit_bytes
            && let Some(oldest) = self.order.pop_front()
        {
            let gone = self.waiting.remove(&oldest).unwrap_or_default();
            self.bytes -= gone.iter().map(Orphan::bytes).sum::<usize>();
            self.tidy();
        }
    }

    /// The runs that waited for a block.
    pub(super) fn take(&mut self, parent: u64) -> Vec<Orphan> {
        let Some(found) = self.waiting.remove(&parent) else { return Vec::new() };
        self.order.retain(|one| *one != parent);
        self.bytes -= found.iter().map(Orphan::bytes).sum::<usize>();
        found
    }

    /// A block that nobody knows is gone: if it waits, it will have been removed.
    pub(super) fn note_removed(&mut self, hash: u64, limit_bytes: usize) {
        if !self.is_empty() && self.bytes() + REMOVED_BYTES <= limit_bytes {
            self.removed.insert(hash);
        }
    }

    /// Whether a block that waited was removed meanwhile.
    pub(super) fn was_removed(&mut self, hash: u64) -> bool {
        self.removed.remove(&hash)
    }

    /// Nothing waits: nothing need be remembered of it.
    pub(super) fn tidy(&mut self) {
        if self.waiting.is_empty() {
            self.removed = HashSet::new();
            self.order = VecDeque::new();
            self.waiting = HashMap::default();
        }
    }
}
