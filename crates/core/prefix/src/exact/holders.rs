//! Who holds a block, and in which tiers.
//!
//! One word: up to two holders in it, or the number of a set outside. A holder is its slot and its tiers in 32 bits.

use crate::tier::Tiers;

const TIER_BITS: u32 = 6;
const TIER_MASK: u32 = (1 << TIER_BITS) - 1;
/// Slots that a holder may have.
pub(super) const MAX_SLOTS: u32 = 1 << (32 - TIER_BITS);
/// Holders of a list that become a bit set at this many in any case.
const MAX_LIST: usize = 256;

const _: () = assert!(Tiers::ALL.0 as u32 == TIER_MASK);

fn pack(slot: u32, tiers: Tiers) -> u32 {
    slot << TIER_BITS | u32::from(tiers.0)
}

fn unpack(packed: u32) -> (u32, Tiers) {
    (packed >> TIER_BITS, Tiers((packed & TIER_MASK) as u8))
}

/// The sets that do not fit into a word.
#[derive(Debug, Default)]
pub(super) struct Sets {
    sets: Vec<Set>,
    free: Vec<u32>,
    /// Memory of the sets.
    bytes: usize,
}

#[derive(Debug)]
enum Set {
    /// Ascending.
    List(Vec<u32>),
    Bits(Box<Bits>),
}

/// For each tier the slots of its holders, as far as there are any.
#[derive(Debug, Default)]
struct Bits {
    planes: [Vec<u64>; TIER_BITS as usize],
    holders: u32,
}

impl Bits {
    fn get(&self, slot: u32) -> Tiers {
        let (word, bit) = place(slot);
        let mut tiers = 0;
        for (tier, plane) in self.planes.iter().enumerate() {
            if plane.get(word).is_some_and(|bits| bits & bit != 0) {
                tiers |= 1 << tier;
            }
        }
        Tiers(tiers)
    }

    fn set(&mut self, slot: u32, tiers: Tiers) {
        let before = self.get(slot);
        let (word, bit) = place(slot);
        for (tier, plane) in self.planes.iter_mut().enumerate() {
            if tiers.0 & (1 << tier) != 0 {
                if plane.len() <= word {
                    plane.reserve_exact(word + 1 - plane.len());
                    plane.resize(word + 1, 0);
                }
                plane[word] |= bit;
            } else if let Some(bits) = plane.get_mut(word) {
                *bits &= !bit;
            }
        }
        self.holders = self.holders + u32::from(!tiers.is_empty()) - u32::from(!before.is_empty());
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.planes.iter().map(|plane| plane.capacity() * 8).sum::<usize>()
    }

    fn for_each(&self, mut f: impl FnMut(u32, Tiers)) {
        let words = self.planes.iter().map(Vec::len).max().unwrap_or(0);
        for word in 0..words {
            let mut any = self.planes.iter().fold(0, |any, plane| any | plane.get(word).copied().unwrap_or(0));
            while any != 0 {
                let slot = word as u32 * 64 + any.trailing_zeros();
                f(slot, self.get(slot));
                any &= any - 1;
            }
        }
    }
}

impl Set {
    fn bytes(&self) -> usize {
        match self {
            Self::List(list) => list.capacity() * 4,
            Self::Bits(bits) => bits.bytes(),
        }
    }

    fn for_each(&self, mut f: impl FnMut(u32, Tiers)) {
        match self {
            Self::List(list) => list.iter().for_each(|packed| {
                let (slot, tiers) = unpack(*packed);
                f(slot, tiers);
            }),
            Self::Bits(bits) => bits.for_each(f),
        }
    }
}

/// Word and bit of a slot.
pub(super) fn place(slot: u32) -> (usize, u64) {
    ((slot / 64) as usize, 1 << (slot % 64))
}

fn outside(word: u64) -> Option<usize> {
    (word != 0 && word as u32 & TIER_MASK == 0).then_some((word >> 32) as usize)
}

fn outside_word(index: usize) -> u64 {
    // Anything but 0 whose tiers are none.
    (index as u64) << 32 | 1 << TIER_BITS
}

/// The two holders in a word; 0: none.
fn inside(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

impl Sets {
    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + (self.sets.len() - self.free.len()) * size_of::<Set>()
    }

    /// The tiers in which a slot has the block.
    pub(super) fn get(&self, word: u64, slot: u32) -> Tiers {
        match outside(word) {
            None => inside(word).into_iter().map(unpack).find(|(one, _)| *one == slot).map_or(Tiers::NONE, |(_, tiers)| tiers),
            Some(index) => match self.sets.get(index) {
                Some(Set::List(list)) => find(list, slot).map_or(Tiers::NONE, |at| unpack(list[at]).1),
                Some(Set::Bits(bits)) => bits.get(slot),
                None => Tiers::NONE,
            },
        }
    }

    /// Shows every holder.
    pub(super) fn for_each(&self, word: u64, mut f: impl FnMut(u32, Tiers)) {
        match outside(word) {
            None => inside(word).into_iter().filter(|packed| *packed != 0).for_each(|packed| {
                let (slot, tiers) = unpack(packed);
                f(slot, tiers);
            }),
            Some(index) => {
                if let Some(set) = self.sets.get(index) {
                    set.for_each(f);
                }
            }
        }
    }

    /// Moves those of `slots` to the front that hold the block in one of `tiers`; returns how many.
    pub(super) fn partition(&self, word: u64, tiers: Tiers, slots: &mut [u32]) -> usize {
        let mut have = 0;
        let mut take = |holds: &dyn Fn(u32) -> bool| {
            for at in 0..slots.len() {
                if holds(slots[at]) {
                    slots.swap(have, at);
                    have += 1;
                }
            }
        };
        if let Some(Set::Bits(bits)) = outside(word).and_then(|index| self.sets.get(index)) {
            let wanted = |tier: usize| if tiers.0 & (1 << tier) == 0 { &[][..] } else { &bits.planes[tier][..] };
            let planes: [&[u64]; TIER_BITS as usize] = std::array::from_fn(wanted);
            take(&|slot| {
                let (word, bit) = place(slot);
                planes.iter().any(|plane| plane.get(word).is_some_and(|bits| bits & bit != 0))
            });
        } else {
            take(&|slot| self.get(word, slot).intersects(tiers));
        }
        have
    }

    /// Writes to `out` those of `alive` that hold the block in one of `tiers`; returns how many.
    pub(super) fn intersect(&self, word: u64, tiers: Tiers, alive: &[u64], out: &mut [u64]) -> u32 {
        if let Some(Set::Bits(bits)) = outside(word).and_then(|index| self.sets.get(index)) {
            return bits_intersect(bits, tiers, alive, out);
        }
        out.fill(0);
        let mut count = 0;
        self.for_each(word, |slot, has| {
            let (word, bit) = place(slot);
            if has.intersects(tiers)
                && let (Some(alive), Some(out)) = (alive.get(word), out.get_mut(word))
                && alive & bit != 0
            {
                *out |= bit;
                count += 1;
            }
        });
        count
    }

    /// Sets the tiers in which a slot has the block. The word becomes 0 when nobody has it.
    pub(super) fn set(&mut self, word: &mut u64, slot: u32, tiers: Tiers) {
        let Some(index) = outside(*word) else { return self.set_inside(word, slot, tiers) };
        let Some(set) = self.sets.get_mut(index) else { return };
        let before = set.bytes();
        let holders = match set {
            Set::List(list) => {
                match (find(list, slot), tiers.is_empty()) {
                    (Ok(at), true) => _ = list.remove(at),
                    (Ok(at), false) => list[at] = pack(slot, tiers),
                    (Err(_), true) => {}
                    (Err(at), false) => {
                        if list.len() == list.capacity() {
                            list.reserve_exact(4 + list.len() / 8);
                        }
                        list.insert(at, pack(slot, tiers));
                    }
                }
                list.len()
            }
            Set::Bits(bits) => {
                bits.set(slot, tiers);
                bits.holders as usize
            }
        };
        if let Set::List(list) = set
            && becomes_bits(list)
        {
            let mut bits = Box::<Bits>::default();
            list.iter().for_each(|packed| {
                let (slot, tiers) = unpack(*packed);
                bits.set(slot, tiers);
            });
            *set = Set::Bits(bits);
        }
        let after = set.bytes();
        self.bytes = self.bytes + after - before;
        if holders <= 2 {
            let mut packed = [0; 2];
            let mut next = 0;
            set.for_each(|slot, tiers| {
                packed[next] = pack(slot, tiers);
                next += 1;
            });
            *set = Set::List(Vec::new());
            self.bytes -= after;
            self.free.push(index as u32);
            *word = u64::from(packed[0]) | u64::from(packed[1]) << 32;
        }
    }

    fn set_inside(&mut self, word: &mut u64, slot: u32, tiers: Tiers) {
        let [mut first, mut second] = inside(*word);
        let packed = if tiers.is_empty() { 0 } else { pack(slot, tiers) };
        if first != 0 && unpack(first).0 == slot {
            first = packed;
        } else if second != 0 && unpack(second).0 == slot {
            second = packed;
        } else if packed == 0 {
            return;
        } else if first == 0 {
            first = packed;
        } else if second == 0 {
            second = packed;
        } else {
            let mut list = Vec::with_capacity(4);
            list.extend([first, second, packed]);
            list.sort_unstable();
            self.bytes += list.capacity() * 4;
            let index = match self.free.pop() {
                Some(index) => {
                    self.sets[index as usize] = Set::List(list);
                    index as usize
                }
                None => {
                    self.sets.push(Set::List(list));
                    self.sets.len() - 1
                }
            };
            *word = outside_word(index);
            return;
        }
        // The first place is taken whenever one is, or the word could not be told from that of a set.
        if first == 0 {
            (first, second) = (second, 0);
        }
        *word = u64::from(first) | u64::from(second) << 32;
    }
}

fn find(list: &[u32], slot: u32) -> Result<usize, usize> {
    list.binary_search_by_key(&slot, |packed| packed >> TIER_BITS)
}

/// Whether one bit a slot costs at most 16 bytes a holder. It may be more than the list's 4, but is looked at many times as fast.
fn becomes_bits(list: &[u32]) -> bool {
    let highest = list.last().map_or(0, |packed| packed >> TIER_BITS) as usize;
    list.len() > MAX_LIST || list.len() * 16 > size_of::<Bits>() + highest / 8 + 8
}

fn bits_intersect(bits: &Bits, tiers: Tiers, alive: &[u64], out: &mut [u64]) -> u32 {
    let mut wanted = bits.planes.iter().enumerate().filter(|(tier, plane)| tiers.0 & (1 << tier) != 0 && !plane.is_empty());
    let first = wanted.next().map_or(&[][..], |(_, plane)| plane);
    let mut count = 0;
    let known = first.len().min(out.len());
    for ((out, alive), plane) in out.iter_mut().zip(alive).zip(first) {
        *out = alive & plane;
    }
    out[known..].fill(0);
    for (_, plane) in wanted {
        for ((out, alive), plane) in out.iter_mut().zip(alive).zip(plane) {
            *out |= alive & plane;
        }
    }
    for word in out.iter() {
        count += word.count_ones();
    }
    count
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tier::Tier;

    #[test]
    fn it_is_a_map_from_slots_to_tiers() {
        for (seed, slots) in [(1, 4), (2, 40), (3, 9_000)] {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut sets = Sets::default();
            let mut words = [0_u64; 3];
            let mut models: [BTreeMap<u32, Tiers>; 3] = Default::default();
            for step in 0..30_000 {
                let which = random.usize(..3);
                let (slot, adds) = (random.u32(..slots), (step / 5_000) % 2 == 0);
                let tiers = if random.u32(..10) < if adds { 8 } else { 2 } { Tiers(random.u8(1..64)) } else { Tiers::NONE };
                sets.set(&mut words[which], slot, tiers);
                match tiers.is_empty() {
                    true => _ = models[which].remove(&slot),
                    false => _ = models[which].insert(slot, tiers),
                }
                assert_eq!(sets.get(words[which], slot), tiers);
                assert_eq!(words[which] == 0, models[which].is_empty());
                if step % 97 == 0 {
                    let mut seen = BTreeMap::new();
                    sets.for_each(words[which], |slot, tiers| assert!(seen.insert(slot, tiers).is_none()));
                    assert_eq!(seen, models[which]);
                    let alive: Vec<u64> = (0..slots.div_ceil(64)).map(|_| random.u64(..)).collect();
                    let mut out = vec![u64::MAX; alive.len()];
                    let mask = Tier::Cpu.bit().with(Tier::Gpu);
                    let count = sets.intersect(words[which], mask, &alive, &mut out);
                    let mut want = vec![0; alive.len()];
                    for slot in seen.iter().filter(|(_, tiers)| tiers.intersects(mask)).map(|(slot, _)| *slot) {
                        let (word, bit) = place(slot);
                        want[word] |= alive[word] & bit;
                    }
                    assert_eq!(out, want);
                    assert_eq!(count, want.iter().map(|word| word.count_ones()).sum::<u32>());
                }
            }
            for (word, model) in words.iter_mut().zip(&models) {
                model.keys().for_each(|slot| sets.set(word, *slot, Tiers::NONE));
            }
            assert_eq!((words, sets.bytes), ([0; 3], 0));
        }
    }

    #[test]
    fn many_holders_cost_a_bit_each() {
        let mut sets = Sets::default();
        let mut word = 0;
        (0..7_000).for_each(|slot| sets.set(&mut word, slot, Tier::Gpu.bit()));
        assert!(sets.bytes() < 7_000 / 8 + 700, "{}", sets.bytes());
    }
}
