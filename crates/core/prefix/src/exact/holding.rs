//! What one endpoint holds: its groups of layers, what waits for a parent, and what is on its way.

use super::{
    blocks::{Blocks, NONE},
    orphans::{Orphans, Run},
    parts::{OwnedKey, Tail},
    shard::Change,
};
use crate::{
    canonical::KeyHasher,
    event::{CacheKind, Event, Removed, Stored},
    extras::Extras,
    identity::HashTable,
    tier::{Tier, Tiers},
};

/// Why an event, or a part of it, was not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Skipped {
    /// Blocks of layers that say nothing of a prompt's prefix.
    UnsupportedKind(CacheKind),
    /// Tokens, but no size of a block.
    InvalidBlockSize,
    /// The tokens are not those of the blocks.
    NonDenseBlockSpan,
    /// A group of layers that stored nothing before.
    UnknownGroup,
    /// Too many groups of layers.
    TooManyGroups,
}

impl Skipped {
    /// Its name, for labels.
    pub fn reason(self) -> &'static str {
        match self {
            Self::UnsupportedKind(_) => "unsupported_cache_kind",
            Self::InvalidBlockSize => "invalid_block_size",
            Self::NonDenseBlockSpan => "non_dense_block_span",
            Self::UnknownGroup => "unknown_group",
            Self::TooManyGroups => "too_many_groups",
        }
    }
}

/// What an event did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Blocks that were announced.
    pub stored: u32,
    /// Blocks that are gone now from the tier.
    pub removed: u32,
    /// Removals that another announcement of the same block outweighs.
    pub suppressed: u32,
    /// Blocks that wait for their parent.
    pub orphaned: u32,
    /// Names that mean no known block.
    pub unknown: u32,
    /// Why nothing was done.
    pub skipped: Option<Skipped>,
}

/// What an expected block takes, with the room that growing leaves.
const EXPECTED_BYTES: usize = (size_of::<(u64, u16)>() + 1) * 3 / 2;
/// Groups of layers that one endpoint may have.
const MAX_GROUPS: usize = 16;

#[derive(Debug)]
struct Group {
    index: Option<u32>,
    kind: Option<CacheKind>,
    window_tokens: Option<u32>,
    mix: u64,
    blocks: Blocks,
}

impl Group {
    fn is_dense(&self) -> bool {
        self.kind.is_none_or(CacheKind::is_dense)
    }
}

/// How much of a prompt one more group of layers needs for a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) mix: u64,
    /// Blocks before the end of the hit; `None`: all of them.
    pub(super) blocks: Option<u32>,
}

/// What an endpoint has to know of the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) hasher: KeyHasher,
    pub(super) block_tokens: u32,
    pub(super) orphan_bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Holding {
    groups: Vec<Group>,
    orphans: Orphans,
    /// How often each block is expected.
    expected: HashTable<u64, u16>,
    /// Every tier that was announced.
    pub(super) tiers: Tiers,
    /// The endpoint is gone; what still comes is late.
    pub(super) closed: bool,
    /// Working memory.
    pub(super) changes: Vec<Change>,
    hashes: Vec<u64>,
    tokens: Vec<u32>,
}

/// Where a run begins.
struct Start {
    parent: u32,
    key: u64,
    tail: Option<Tail>,
}

impl Holding {
    /// Takes an event up. `model` is what the stream says; an adapter's blocks go under the adapter's name.
    pub(super) fn apply(&mut self, rules: &Rules, model: &str, event: &Event<'_>, out: &mut Vec<Change>) -> Applied {
        match event {
            Event::Stored(stored) => self.stored(rules, model, stored, out),
            Event::Removed(removed) => self.removed(rules, removed, out),
            Event::Cleared => {
                let removed = self.blocks() as u32;
                self.clear(out);
                Applied { removed, ..Applied::default() }
            }
        }
    }

    /// Everything is gone, except for what is only expected.
    pub(super) fn clear(&mut self, out: &mut Vec<Change>) {
        for group in &mut self.groups {
            group.blocks.clear(out);
        }
        self.orphans = Orphans::default();
        self.tiers = Tiers::NONE;
    }

    /// Blocks are expected: somebody sent a prompt there.
    pub(super) fn expect(&mut self, keys: &[u64], out: &mut Vec<Change>) {
        for key in keys {
            let count = self.expected.entry(*key).or_default();
            *count = count.saturating_add(1);
            if *count == 1 {
                out.push(Change { key: *key, add: Tier::Speculative.bit(), remove: Tiers::NONE });
            }
        }
    }

    /// They are not expected any more, by one of those who did.
    pub(super) fn unexpect(&mut self, keys: &[u64], out: &mut Vec<Change>) {
        for key in keys {
            let Some(count) = self.expected.get_mut(key) else { continue };
            *count -= 1;
            if *count == 0 {
                self.expected.remove(key);
                out.push(Change { key: *key, add: Tiers::NONE, remove: Tier::Speculative.bit() });
            }
        }
        if self.expected.is_empty() {
            self.expected = HashTable::default();
        }
    }

    pub(super) fn unexpect_all(&mut self, out: &mut Vec<Change>) {
        for key in std::mem::take(&mut self.expected).into_keys() {
            out.push(Change { key, add: Tiers::NONE, remove: Tier::Speculative.bit() });
        }
    }

    /// Forgets blocks at the ends of prefixes. Returns how many.
    pub(super) fn forget(&mut self, most: usize, out: &mut Vec<Change>) -> usize {
        let largest = self.groups.iter_mut().max_by_key(|group| group.blocks.len());
        largest.map_or(0, |group| group.blocks.forget(most, out))
    }

    /// Gives memory back of which most is of no use.
    pub(super) fn tidy(&mut self) {
        self.groups.iter_mut().for_each(|group| group.blocks.tidy());
    }

    pub(super) fn blocks(&self) -> usize {
        self.groups.iter().map(|group| group.blocks.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(|group| group.blocks.bytes()).sum();
        groups + self.orphans.bytes() + self.expected.len() * EXPECTED_BYTES
    }

    pub(super) fn orphan_bytes(&self) -> usize {
        self.orphans.bytes()
    }

    /// Whether what it holds on any tier, and on the accelerator, is always a prefix without holes.
    pub(super) fn regular(&self) -> (bool, bool) {
        self.groups.iter().find(|group| group.mix == 0).map_or((true, true), |group| group.blocks.regular())
    }

    /// What groups besides the first dense one need.
    pub(super) fn needs(&self, block_tokens: u32) -> Vec<Needs> {
        let more = self.groups.iter().filter(|group| group.mix != 0 && group.blocks.len() > 0);
        more.filter_map(|group| {
            let blocks = match group.kind {
                _ if group.is_dense() => None,
                Some(CacheKind::Mamba) => Some(1),
                _ => Some(group.window_tokens?.saturating_sub(1).div_ceil(block_tokens.max(1))),
            };
            Some(Needs { mix: group.mix, blocks })
        })
        .collect()
    }

    fn stored(&mut self, rules: &Rules, model: &str, event: &Stored<'_>, out: &mut Vec<Change>) -> Applied {
        let mut applied = Applied::default();
        let place = match self.group(event) {
            Ok(place) => place,
            Err(why) => return Applied { skipped: Some(why), ..applied },
        };
        self.tiers = self.tiers.with(event.tier);
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        hashes.extend(event.hashes.iter());
        if event.tokens.is_empty() {
            for hash in &hashes {
                match self.locate(*hash, event.group.map(|_| place)) {
                    Some((place, id)) => {
                        self.groups[place].blocks.announce(id, event.tier, out);
                        applied.stored += 1;
                    }
                    None => applied.unknown += 1,
                }
            }
        } else {
            let mut tokens = std::mem::take(&mut self.tokens);
            tokens.clear();
            tokens.extend(event.tokens.iter());
            let mut extras = Extras::default();
            event.extras(&mut extras);
            match block_tokens(event, hashes.len()) {
                Err(why) => applied.skipped = Some(why),
                Ok(block_tokens) => {
                    let run = Run { hashes: &hashes, tokens: &tokens, block_tokens, tier: event.tier, extras: &extras };
                    match self.start(rules, model, event, place) {
                        Some(start) => self.store(rules, place, &run, start, &mut applied, out),
                        None => {
                            applied.orphaned += hashes.len() as u32;
                            self.orphans.keep(event.parent.unwrap_or_default(), &run, rules.orphan_bytes);
                        }
                    }
                }
            }
            self.tokens = tokens;
        }
        self.hashes = hashes;
        applied
    }

    fn removed(&mut self, rules: &Rules, event: &Removed<'_>, out: &mut Vec<Change>) -> Applied {
        let mut applied = Applied::default();
        let place = match event.group {
            None => None,
            Some(index) => match self.groups.iter().position(|group| group.index == Some(index)) {
                Some(place) => Some(place),
                None => return Applied { skipped: Some(Skipped::UnknownGroup), ..applied },
            },
        };
        for hash in event.hashes.iter() {
            match self.locate(hash, place) {
                Some((place, id)) => match self.groups[place].blocks.withdraw(id, event.tier, out) {
                    true => applied.removed += 1,
                    false => applied.suppressed += 1,
                },
                None => {
                    applied.unknown += 1;
                    self.orphans.note_removed(hash, rules.orphan_bytes);
                }
            }
        }
        applied
    }

    /// A block by its name, in one group or in any.
    fn locate(&self, hash: u64, group: Option<usize>) -> Option<(usize, u32)> {
        match group {
            Some(place) => Some((place, self.groups[place].blocks.find(hash)?)),
            None => self.groups.iter().enumerate().find_map(|(place, group)| Some((place, group.blocks.find(hash)?))),
        }
    }

    /// The place of an event's group, which is made if it is new.
    fn group(&mut self, event: &Stored<'_>) -> Result<usize, Skipped> {
        let place = self.groups.iter().position(|group| group.index == event.group);
        if let Some(place) = place {
            let group = &mut self.groups[place];
            group.kind = event.kind.or(group.kind);
            group.window_tokens = event.window_tokens.or(group.window_tokens);
        }
        let kind = event.kind.or_else(|| place.and_then(|place| self.groups[place].kind));
        if let Some(kind) = kind.filter(|kind| event.group.is_some() && !usable(*kind)) {
            return Err(Skipped::UnsupportedKind(kind));
        }
        if let Some(place) = place {
            return Ok(place);
        }
        if self.groups.len() == MAX_GROUPS {
            return Err(Skipped::TooManyGroups);
        }
        let first_dense = kind.is_none_or(CacheKind::is_dense) && self.groups.iter().all(|group| group.mix != 0);
        let mix = match event.group {
            _ if first_dense => 0,
            Some(index) => (u64::from(index) + 1).wrapping_mul(0xa076_1d64_78bd_642f),
            None => 0xe703_7ed1_a0b4_28db,
        };
        let window_tokens = event.window_tokens;
        self.groups.push(Group { index: event.group, kind, window_tokens, mix, blocks: Blocks::new(mix) });
        Ok(self.groups.len() - 1)
    }

    /// Where an event's run begins; `None`: its parent is not known.
    fn start(&self, rules: &Rules, model: &str, event: &Stored<'_>, place: usize) -> Option<Start> {
        let Some(parent) = event.parent else {
            let key = match (event.lora_name, event.lora_id) {
                (Some(name), _) => rules.hasher.root(name),
                // An adapter without a name: nobody can ask for it, and it is not the model.
                (None, Some(id)) => rules.hasher.root(&format!("{model}\u{0}lora {id}")),
                (None, None) => rules.hasher.root(model),
            };
            return Some(Start { parent: NONE, key, tail: None });
        };
        if let Some(id) = self.groups[place].blocks.find(parent) {
            return Some(self.after(place, id));
        }
        // Layers that keep a window have dropped the parent perhaps; others of the same endpoint know its content.
        let (other, id) = self.locate(parent, None)?;
        Some(Start { parent: NONE, ..self.after(other, id) })
    }

    /// What follows a known block.
    fn after(&self, place: usize, id: u32) -> Start {
        let blocks = &self.groups[place].blocks;
        Start { parent: id, key: blocks.key(id), tail: blocks.parts.tail(id).cloned() }
    }

    /// Stores a run, and what waited for its blocks.
    fn store(&mut self, rules: &Rules, place: usize, run: &Run<'_>, start: Start, applied: &mut Applied, out: &mut Vec<Change>) {
        let blocks = &mut self.groups[place].blocks;
        if run.block_tokens == rules.block_tokens && start.tail.is_none() {
            store_aligned(blocks, rules, run, start, out);
        } else {
            store_in_parts(blocks, rules, run, start, out);
        }
        applied.stored += run.hashes.len() as u32;
        if self.orphans.is_empty() {
            return;
        }
        let mut fresh = run.hashes.to_vec();
        while let Some(hash) = fresh.pop() {
            for orphan in self.orphans.take(hash) {
                let Some(id) = self.groups[place].blocks.find(hash) else { continue };
                let start = self.after(place, id);
                let extras = orphan.extras();
                let run = Run {
                    hashes: &orphan.hashes,
                    tokens: &orphan.tokens,
                    block_tokens: orphan.block_tokens,
                    tier: orphan.tier,
                    extras: &extras,
                };
                let blocks = &mut self.groups[place].blocks;
                if run.block_tokens == rules.block_tokens && start.tail.is_none() {
                    store_aligned(blocks, rules, &run, start, out);
                } else {
                    store_in_parts(blocks, rules, &run, start, out);
                }
                applied.stored += run.hashes.len() as u32;
                fresh.extend_from_slice(run.hashes);
                for hash in run.hashes {
                    if self.orphans.was_removed(*hash)
                        && let Some(id) = blocks.find(*hash)
                    {
                        blocks.withdraw(id, run.tier, out);
                    }
                }
            }
        }
        self.orphans.tidy();
    }
}

/// Whether blocks of such layers say something of a prompt's prefix.
fn usable(kind: CacheKind) -> bool {
    kind.is_dense()
        || matches!(
            kind,
            CacheKind::SlidingWindow | CacheKind::SlidingWindowMla | CacheKind::Mamba | CacheKind::ChunkedLocalAttention
        )
}

/// Tokens of each block of an event.
fn block_tokens(event: &Stored<'_>, hashes: usize) -> Result<u32, Skipped> {
    let tokens = event.tokens.len();
    if event.block_tokens == 0 && event.group.is_some() {
        return Err(Skipped::InvalidBlockSize);
    }
    match tokens.checked_div(hashes) {
        Some(each) if each * hashes == tokens && (event.block_tokens == 0 || event.block_tokens as usize == each) => {
            Ok(each as u32)
        }
        _ => Err(Skipped::NonDenseBlockSpan),
    }
}

/// The engine's blocks are the router's.
fn store_aligned(blocks: &mut Blocks, rules: &Rules, run: &Run<'_>, start: Start, out: &mut Vec<Change>) {
    let Start { mut parent, mut key, .. } = start;
    let each = run.block_tokens as usize;
    for (at, hash) in run.hashes.iter().enumerate() {
        let id = match blocks.find(*hash) {
            Some(id) => {
                key = blocks.key(id);
                id
            }
            None => {
                let tokens = &run.tokens[at * each..][..each];
                key = match run.extras.is_empty() {
                    true => rules.hasher.block(key, tokens, std::iter::empty()),
                    false => rules.hasher.block(key, tokens, run.extras.of(at as u32)),
                };
                blocks.insert(*hash, parent, key, false)
            }
        };
        blocks.announce(id, run.tier, out);
        parent = id;
    }
}

/// The engine's blocks have borders of their own: a block of the router's is there when all are in which it lies.
fn store_in_parts(blocks: &mut Blocks, rules: &Rules, run: &Run<'_>, start: Start, out: &mut Vec<Change>) {
    let Start { mut parent, mut key, tail } = start;
    let Tail { mut tokens, mut extras } = tail.unwrap_or_default();
    let (each, ours) = (run.block_tokens as usize, rules.block_tokens.max(1) as usize);
    for (at, hash) in run.hashes.iter().enumerate() {
        if let Some(id) = blocks.find(*hash) {
            blocks.announce(id, run.tier, out);
            (parent, key) = (id, blocks.key(id));
            Tail { tokens, extras } = blocks.parts.tail(id).cloned().unwrap_or_default();
            continue;
        }
        let id = blocks.insert(*hash, parent, key, true);
        let own: Vec<OwnedKey> = run.extras.of(at as u32).filter_map(OwnedKey::of).collect();
        // How many tokens of the engine's blocks before this one are part of what comes now.
        let mut before = tokens.len();
        tokens.extend_from_slice(&run.tokens[at * each..][..each]);
        let mut done = 0;
        while tokens.len() - done >= ours {
            let mut keys = if before > 0 { extras.clone() } else { Vec::new() };
            keys.extend(own.iter().filter(|key| !extras.contains(key) || before == 0).cloned());
            key = rules.hasher.block(key, &tokens[done..][..ours], keys.iter().map(OwnedKey::as_key));
            let mut members = vec![id];
            let (mut covered, mut member) = (0, parent);
            while covered < before && member != NONE {
                members.push(member);
                covered += each;
                member = blocks.parent(member);
            }
            blocks.add_part(key, members.into_boxed_slice());
            done += ours;
            before = 0;
        }
        tokens.drain(..done);
        if before == 0 {
            extras = own;
        } else {
            let new: Vec<OwnedKey> = own.into_iter().filter(|key| !extras.contains(key)).collect();
            extras.extend(new);
        }
        blocks.set_key(id, key);
        blocks.parts.set_tail(id, Tail { tokens: tokens.clone(), extras: extras.clone() });
        blocks.announce(id, run.tier, out);
        parent = id;
    }
}
