//! The router's blocks where their borders are not the engine's.

use crate::{
    extras::ExtraKey,
    identity::HashTable,
    tier::{Tier, Tiers},
};

/// What follows an engine's block that ends between two borders.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// Tokens since the border.
    pub(super) tokens: Vec<u32>,
    /// Extra keys of the blocks that they lie in.
    pub(super) extras: Vec<OwnedKey>,
}

/// An [`ExtraKey`] that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnedKey {
    Media(Box<str>),
    Salt(Box<str>),
    Opaque(Box<[u8]>),
}

impl OwnedKey {
    /// Adapters are not kept: they are in the root of the chain.
    pub(super) fn of(key: ExtraKey<'_>) -> Option<Self> {
        match key {
            ExtraKey::Adapter(_) => None,
            ExtraKey::Media(id) => Some(Self::Media(id.into())),
            ExtraKey::Salt(salt) => Some(Self::Salt(salt.into())),
            ExtraKey::Opaque(content) => Some(Self::Opaque(content.into())),
        }
    }

    pub(super) fn as_key(&self) -> ExtraKey<'_> {
        match self {
            Self::Media(id) => ExtraKey::Media(id),
            Self::Salt(salt) => ExtraKey::Salt(salt),
            Self::Opaque(content) => ExtraKey::Opaque(content),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Media(text) | Self::Salt(text) => text.len(),
                Self::Opaque(content) => content.len(),
            }
    }
}

/// One of the router's blocks, and the engine's blocks in which it lies.
#[derive(Debug, Default)]
struct Part {
    key: u64,
    /// The one with which it is complete, then those before it.
    members: Box<[u32]>,
    tiers: Tiers,
}

#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
    free: Vec<u32>,
    /// By record: the parts that it is a member of.
    of: HashTable<u32, Vec<u32>>,
    tails: HashTable<u32, Tail>,
    tail_bytes: usize,
    /// How many parts of the same content there are on each tier: engine's blocks may begin alike.
    counts: HashTable<u64, [u16; Tier::ALL.len()]>,
}

impl Parts {
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty() && self.tails.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        const MEMBER_BYTES: usize = 2 * 4 + size_of::<(u32, Vec<u32>)>() * 3 / 2;
        self.parts.capacity() * size_of::<Part>()
            + self.of.len() * MEMBER_BYTES
            + self.tails.len() * size_of::<(u32, Tail)>() * 3 / 2
            + self.counts.len() * size_of::<(u64, [u16; Tier::ALL.len()])>() * 3 / 2
            + self.tail_bytes
    }

    pub(super) fn add(&mut self, key: u64, members: Box<[u32]>) {
        let part = self.free.pop().unwrap_or_else(|| {
            self.parts.push(Part::default());
            (self.parts.len() - 1) as u32
        });
        for member in &members {
            self.of.entry(*member).or_default().push(part);
        }
        self.parts[part as usize] = Part { key, members, tiers: Tiers::NONE };
    }

    /// The parts that a record is a member of.
    pub(super) fn of(&self, id: u32) -> Vec<u32> {
        self.of.get(&id).cloned().unwrap_or_default()
    }

    pub(super) fn members(&self, part: u32) -> &[u32] {
        &self.parts[part as usize].members
    }

    /// Says where a part is. Gives its key, and the tiers on which its content came and went by that.
    pub(super) fn set_tiers(&mut self, part: u32, tiers: Tiers) -> (u64, Tiers, Tiers) {
        let part = &mut self.parts[part as usize];
        let before = std::mem::replace(&mut part.tiers, tiers);
        let (mut came, mut went) = (Tiers::NONE, Tiers::NONE);
        if before == tiers {
            return (part.key, came, went);
        }
        let counts = self.counts.entry(part.key).or_default();
        for (tier, count) in Tier::ALL.into_iter().zip(counts.iter_mut()) {
            match (before.contains(tier), tiers.contains(tier)) {
                (false, true) => {
                    *count = count.saturating_add(1);
                    came = if *count == 1 { came.with(tier) } else { came };
                }
                (true, false) => {
                    *count = count.saturating_sub(1);
                    went = if *count == 0 { went.with(tier) } else { went };
                }
                _ => {}
            }
        }
        if *counts == [0; Tier::ALL.len()] {
            self.counts.remove(&part.key);
        }
        (part.key, came, went)
    }

    /// A record goes, and with it the parts that it completes: those of which it is the first member.
    pub(super) fn forget_record(&mut self, id: u32) {
        self.forget_tail(id);
        for part in self.of(id) {
            if self.members(part).first() == Some(&id) {
                self.remove(part);
            }
        }
    }

    fn remove(&mut self, part: u32) {
        let Part { members, .. } = std::mem::take(&mut self.parts[part as usize]);
        for member in &members {
            if let Some(list) = self.of.get_mut(member) {
                list.retain(|one| *one != part);
                if list.is_empty() {
                    self.of.remove(member);
                }
            }
        }
        self.free.push(part);
    }

    /// Shows what is somewhere.
    pub(super) fn for_each(&self, mut f: impl FnMut(u64, Tiers)) {
        for (key, counts) in &self.counts {
            let on = Tier::ALL.into_iter().zip(counts).filter(|(_, count)| **count > 0);
            f(*key, on.fold(Tiers::NONE, |tiers, (tier, _)| tiers.with(tier)));
        }
    }

    /// Records have other numbers now.
    pub(super) fn moved(&mut self, to: &[u32]) {
        if self.is_empty() {
            return;
        }
        for part in &mut self.parts {
            part.members.iter_mut().for_each(|member| *member = to[*member as usize]);
        }
        self.of = std::mem::take(&mut self.of).into_iter().map(|(id, parts)| (to[id as usize], parts)).collect();
        self.tails = std::mem::take(&mut self.tails).into_iter().map(|(id, tail)| (to[id as usize], tail)).collect();
    }

    pub(super) fn tail(&self, id: u32) -> Option<&Tail> {
        self.tails.get(&id)
    }

    pub(super) fn set_tail(&mut self, id: u32, tail: Tail) {
        if tail.tokens.is_empty() {
            return;
        }
        self.tail_bytes += tail_bytes(&tail);
        self.tails.insert(id, tail);
    }

    fn forget_tail(&mut self, id: u32) {
        if !self.tails.is_empty()
            && let Some(tail) = self.tails.remove(&id)
        {
            self.tail_bytes -= tail_bytes(&tail);
        }
    }
}

fn tail_bytes(tail: &Tail) -> usize {
    tail.tokens.len() * 4 + tail.extras.iter().map(OwnedKey::bytes).sum::<usize>()
}
