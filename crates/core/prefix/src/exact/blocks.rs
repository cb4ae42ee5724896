//! The blocks that one engine says it has, by the names it gives them.

use super::{parts::Parts, shard::Change};
use crate::tier::{Tier, Tiers};

/// No record.
pub(super) const NONE: u32 = u32::MAX;
/// Records that are allocated together.
const CHUNK: usize = 512;
const CHUNK_BITS: u32 = CHUNK.trailing_zeros();
/// Bits of one tier's count.
const COUNT_BITS: u32 = 4;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
/// The record's content is found through parts, not under its own key.
const IN_PARTS: u32 = 1 << 31;
/// The record is none.
const FREE: u32 = 1 << 30;

/// One of the engine's blocks. It stays after the block is gone while others follow it.
#[derive(Clone, Copy, Debug)]
struct Record {
    engine: u64,
    /// The router's key of the prefix that ends here or, if this is no border of the router's blocks, at the border before.
    key: u64,
    parent: u32,
    /// The next of the same bucket, or of the free ones.
    next: u32,
    /// How often each tier was announced, and flags.
    counts: u32,
    /// Records that follow; a count that reached its maximum stays there.
    children: u16,
    /// Those of them that are on the accelerator.
    gpu_children: u16,
}

const _: () = assert!(size_of::<Record>() == 32);

/// A record and its share of the buckets, of which there are two for three records up to four for three.
const RECORD_BYTES: usize = size_of::<Record>() + 6;

impl Record {
    fn tiers(&self) -> Tiers {
        let any = self.counts | self.counts >> 1 | self.counts >> 2 | self.counts >> 3;
        let bit = |tier: u32| any >> (tier * COUNT_BITS - tier) & 1 << tier;
        Tiers((bit(0) | bit(1) | bit(2) | bit(3) | bit(4) | bit(5)) as u8)
    }

    fn count(&self, tier: Tier) -> u32 {
        self.counts >> (tier as u32 * COUNT_BITS) & COUNT_MAX
    }

    fn set_count(&mut self, tier: Tier, count: u32) {
        let shift = tier as u32 * COUNT_BITS;
        self.counts = self.counts & !(COUNT_MAX << shift) | count << shift;
    }
}

/// Records by engine key, tied to a tree.
#[derive(Debug)]
pub(super) struct Blocks {
    chunks: Vec<Vec<Record>>,
    /// First record of each bucket.
    buckets: Vec<u32>,
    records: usize,
    free: u32,
    /// Where forgetting goes on.
    hand: u32,
    /// Blocks that are gone although others follow them.
    holes: usize,
    /// Blocks that are not on the accelerator although one that follows is.
    gpu_holes: usize,
    /// Mixed into the router's keys.
    mix: u64,
    pub(super) parts: Parts,
}

impl Blocks {
    /// `mix`: what tells the keys of these blocks from those of other groups; 0: nothing.
    pub(super) fn new(mix: u64) -> Self {
        Self {
            chunks: Vec::new(),
            buckets: Vec::new(),
            records: 0,
            free: NONE,
            hand: 0,
            holes: 0,
            gpu_holes: 0,
            mix,
            parts: Parts::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// Memory in use. What was freed is used again, and given back once it is as much as that.
    pub(super) fn bytes(&self) -> usize {
        self.records * RECORD_BYTES + self.parts.bytes()
    }

    /// Whether what is held on any tier, and on the accelerator, is always a prefix without holes.
    pub(super) fn regular(&self) -> (bool, bool) {
        let whole = self.parts.is_empty();
        (whole && self.holes == 0, whole && self.gpu_holes == 0)
    }

    pub(super) fn find(&self, engine: u64) -> Option<u32> {
        let mut id = *self.buckets.get(self.bucket(engine))?;
        while id != NONE {
            let record = self.record(id);
            if record.engine == engine {
                return Some(id);
            }
            id = record.next;
        }
        None
    }

    /// The router's key of the prefix that ends with a block.
    pub(super) fn key(&self, id: u32) -> u64 {
        self.record(id).key
    }

    pub(super) fn set_key(&mut self, id: u32, key: u64) {
        self.record_mut(id).key = key;
    }

    pub(super) fn parent(&self, id: u32) -> u32 {
        self.record(id).parent
    }

    pub(super) fn tiers(&self, id: u32) -> Tiers {
        self.record(id).tiers()
    }

    /// A new block, which is nowhere yet. It must be announced at once.
    pub(super) fn insert(&mut self, engine: u64, parent: u32, key: u64, in_parts: bool) -> u32 {
        if self.records + 1 > self.buckets.len() * 3 / 2 {
            self.rebucket((self.buckets.len() * 2).max(8));
        }
        let counts = if in_parts { IN_PARTS } else { 0 };
        let bucket = self.bucket(engine);
        let record = Record { engine, key, parent, next: self.buckets[bucket], counts, children: 0, gpu_children: 0 };
        let id = self.allocate(record);
        self.buckets[bucket] = id;
        self.records += 1;
        if parent != NONE {
            let parent = self.record_mut(parent);
            parent.children = parent.children.saturating_add(1);
        }
        id
    }

    /// The engine says that a block is on a tier.
    pub(super) fn announce(&mut self, id: u32, tier: Tier, out: &mut Vec<Change>) {
        let before = self.tiers(id);
        let record = self.record_mut(id);
        let count = record.count(tier);
        record.set_count(tier, (count + 1).min(COUNT_MAX));
        self.changed(id, before, out);
    }

    /// The engine says that a block is gone from a tier. What was announced more than once has to be withdrawn as often.
    /// Returns whether it is gone now.
    pub(super) fn withdraw(&mut self, id: u32, tier: Tier, out: &mut Vec<Change>) -> bool {
        let before = self.tiers(id);
        let record = self.record_mut(id);
        let count = record.count(tier).saturating_sub(1);
        record.set_count(tier, count);
        self.changed(id, before, out);
        count == 0
    }

    /// The block is gone from everywhere.
    fn withdraw_all(&mut self, id: u32, out: &mut Vec<Change>) {
        let before = self.tiers(id);
        self.record_mut(id).counts &= IN_PARTS;
        self.changed(id, before, out);
    }

    /// Forgets up to `most` blocks at the ends of prefixes, those first that were learned first. Returns how many.
    pub(super) fn forget(&mut self, most: usize, out: &mut Vec<Change>) -> usize {
        let places = self.places();
        let mut forgotten = 0;
        // What is an end changes as others go: two rounds find something, if there is anything.
        for _ in 0..places.saturating_mul(2) {
            if forgotten == most {
                break;
            }
            self.hand = if (self.hand as usize) < places { self.hand } else { 0 };
            let id = self.hand;
            self.hand += 1;
            let record = self.record(id);
            if record.children == 0 && !record.tiers().is_empty() {
                self.withdraw_all(id, out);
                forgotten += 1;
            }
        }
        forgotten
    }

    /// Everything is gone: tells of each block and leaves nothing.
    pub(super) fn clear(&mut self, out: &mut Vec<Change>) {
        for record in self.chunks.iter().flatten() {
            let tiers = record.tiers();
            if !tiers.is_empty() && record.counts & IN_PARTS == 0 {
                out.push(change(self.mix, record.key, Tiers::NONE, tiers));
            }
        }
        let mix = self.mix;
        self.parts.for_each(|key, tiers| out.push(change(mix, key, Tiers::NONE, tiers)));
        *self = Self::new(self.mix);
    }

    /// Gives memory back if most of it is of no use.
    pub(super) fn tidy(&mut self) {
        let places = self.places();
        if places < 2 * CHUNK || self.records * 2 > places {
            return;
        }
        let mut moved = vec![NONE; places];
        let old = std::mem::take(&mut self.chunks);
        (self.free, self.hand) = (NONE, 0);
        for (id, record) in old.iter().flatten().enumerate().filter(|(_, record)| record.counts & FREE == 0) {
            moved[id] = self.allocate(*record);
        }
        for record in self.chunks.iter_mut().flatten().filter(|record| record.parent != NONE) {
            record.parent = moved[record.parent as usize];
        }
        self.parts.moved(&moved);
        self.rebucket((self.records * 4 / 3).max(8));
    }

    /// Ties a block of the router's to the engine's blocks that it consists of.
    pub(super) fn add_part(&mut self, key: u64, members: Box<[u32]>) {
        self.parts.add(key, members);
    }

    /// Tells what follows from a block's tiers having been `before`.
    fn changed(&mut self, id: u32, before: Tiers, out: &mut Vec<Change>) {
        let record = *self.record(id);
        let after = record.tiers();
        if before == after {
            return;
        }
        let (had_gpu, has_gpu) = (before.contains(Tier::Gpu), after.contains(Tier::Gpu));
        if had_gpu != has_gpu {
            if record.gpu_children > 0 {
                self.gpu_holes = if has_gpu { self.gpu_holes - 1 } else { self.gpu_holes + 1 };
            }
            self.gpu_child_changed(record.parent, has_gpu);
        }
        if record.children > 0 {
            self.holes = self.holes + usize::from(after.is_empty()) - usize::from(before.is_empty());
        }
        if record.counts & IN_PARTS == 0 {
            out.push(change(self.mix, record.key, Tiers(after.0 & !before.0), Tiers(before.0 & !after.0)));
        } else {
            self.parts_changed(id, out);
        }
        if after.is_empty() {
            self.free_unused(id);
        }
    }

    fn gpu_child_changed(&mut self, parent: u32, has_gpu: bool) {
        if parent == NONE {
            return;
        }
        let record = self.record_mut(parent);
        let before = record.gpu_children;
        record.gpu_children = match has_gpu {
            true => before.saturating_add(1),
            false if before == u16::MAX => before,
            false => before.saturating_sub(1),
        };
        let (after, on_gpu) = (record.gpu_children, record.tiers().contains(Tier::Gpu));
        if !on_gpu && before == 0 && after > 0 {
            self.gpu_holes += 1;
        } else if !on_gpu && before > 0 && after == 0 {
            self.gpu_holes -= 1;
        }
    }

    /// The parts of a block hold what all of their members hold.
    fn parts_changed(&mut self, id: u32, out: &mut Vec<Change>) {
        for part in self.parts.of(id) {
            let members = self.parts.members(part);
            let all = members.iter().fold(Tiers::ALL, |all, member| Tiers(all.0 & self.tiers(*member).0));
            let (key, came, went) = self.parts.set_tiers(part, all);
            if came != went {
                out.push(change(self.mix, key, came, went));
            }
        }
    }

    /// Drops a record that is nowhere and that nothing follows, and those before it that only it kept.
    fn free_unused(&mut self, mut id: u32) {
        loop {
            let Record { engine, parent, counts, children, .. } = *self.record(id);
            if children > 0 || !self.tiers(id).is_empty() {
                return;
            }
            if counts & IN_PARTS != 0 {
                // What it completes goes with it; of other parts it would be a member that something follows.
                self.parts.forget_record(id);
            }
            self.unlink(engine, id);
            let free = self.free;
            *self.record_mut(id) =
                Record { engine: 0, key: 0, parent: NONE, next: free, counts: FREE, children: 0, gpu_children: 0 };
            self.free = id;
            self.records -= 1;
            if parent == NONE {
                return;
            }
            let record = self.record_mut(parent);
            if record.children == u16::MAX {
                return;
            }
            record.children = record.children.saturating_sub(1);
            if record.children > 0 || !record.tiers().is_empty() {
                return;
            }
            self.holes -= 1;
            id = parent;
        }
    }

    fn unlink(&mut self, engine: u64, id: u32) {
        let bucket = self.bucket(engine);
        let next = self.record(id).next;
        let mut at = self.buckets[bucket];
        if at == id {
            self.buckets[bucket] = next;
            return;
        }
        while at != NONE {
            let record = self.record_mut(at);
            if record.next == id {
                record.next = next;
                return;
            }
            at = record.next;
        }
    }

    fn allocate(&mut self, record: Record) -> u32 {
        if self.free != NONE {
            let id = self.free;
            self.free = self.record(id).next;
            *self.record_mut(id) = record;
            return id;
        }
        let id = self.places() as u32;
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => {
                // The first one grows, so that a small engine costs little.
                if last.len() == last.capacity() {
                    last.reserve_exact((last.len() / 2 + 8).min(CHUNK - last.len()));
                }
                last.push(record);
            }
            last => {
                let mut chunk = Vec::with_capacity(if last.is_some() { CHUNK } else { 8 });
                chunk.push(record);
                self.chunks.push(chunk);
            }
        }
        id
    }

    fn rebucket(&mut self, len: usize) {
        self.buckets = vec![NONE; len];
        for id in 0..self.places() as u32 {
            let record = *self.record(id);
            if record.counts & FREE != 0 {
                continue;
            }
            let bucket = self.bucket(record.engine);
            let next = std::mem::replace(&mut self.buckets[bucket], id);
            self.record_mut(id).next = next;
        }
    }

    fn bucket(&self, engine: u64) -> usize {
        let spread = (engine ^ engine >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((u128::from(spread) * self.buckets.len() as u128) >> 64) as usize
    }

    fn places(&self) -> usize {
        self.chunks.len().saturating_sub(1) * CHUNK + self.chunks.last().map_or(0, Vec::len)
    }

    fn record(&self, id: u32) -> &Record {
        &self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }

    fn record_mut(&mut self, id: u32) -> &mut Record {
        &mut self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK]
    }
}

fn change(mix: u64, key: u64, add: Tiers, remove: Tiers) -> Change {
    Change { key: mixed(key, mix), add, remove }
}

/// The key of a block in a group of layers.
pub(super) fn mixed(key: u64, mix: u64) -> u64 {
    // 0 is no key.
    if mix == 0 { key } else { (key ^ mix).max(1) }
}
