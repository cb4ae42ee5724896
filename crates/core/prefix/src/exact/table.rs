//! A table from block keys to one word, dense in memory.

/// Room behind the last home place, for what is pushed there.
const MARGIN: usize = 16;
/// Places for the first entries.
const FIRST: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// Spread key; 0: empty.
    key: u64,
    value: u64,
}

/// Open addressing where keys stand in ascending order: a key's home place is proportional to it, so that a search ends at the
/// first larger key, growing is one pass, and 85 % of the places may be taken.
///
/// All keys of a table share their first `common_bits` bits.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    /// Places that are homes.
    homes: usize,
    len: usize,
    common_bits: u32,
}

/// Spreads a key over all bits; 0 stays 0, and no two keys meet.
pub(super) fn spread(key: u64) -> u64 {
    let mixed = (key ^ (key >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

impl Table {
    pub(super) fn new(common_bits: u32) -> Self {
        Self { slots: Vec::new(), homes: 0, len: 0, common_bits }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory that it has.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// The value of a spread key.
    pub(super) fn get(&self, key: u64) -> Option<u64> {
        let slot = self.slots.get(self.seek(key))?;
        (slot.key == key).then_some(slot.value)
    }

    /// The value of a spread key, to be changed.
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut u64> {
        let at = self.seek(key);
        self.slots.get_mut(at).filter(|slot| slot.key == key).map(|slot| &mut slot.value)
    }

    /// Adds a spread key that is not there.
    pub(super) fn insert(&mut self, key: u64, value: u64) {
        if (self.len + 1) * 20 > self.homes * 17 {
            self.grow();
        }
        let at = self.seek(key);
        let free = self.slots[at..].iter().position(|slot| slot.key == 0);
        let distance = free.unwrap_or_else(|| {
            // Keys crowd at the end.
            let end = self.slots.len();
            self.slots.resize(end + MARGIN, Slot::default());
            end - at
        });
        self.slots.copy_within(at..at + distance, at + 1);
        self.slots[at] = Slot { key, value };
        self.len += 1;
    }

    /// Removes a spread key.
    pub(super) fn remove(&mut self, key: u64) {
        let at = self.seek(key);
        if self.slots.get(at).is_none_or(|slot| slot.key != key) {
            return;
        }
        // Those behind move up until one stands at home.
        let mut end = at + 1;
        while end < self.slots.len() && self.slots[end].key != 0 && self.home(self.slots[end].key) < end {
            end += 1;
        }
        self.slots.copy_within(at + 1..end, at);
        self.slots[end - 1] = Slot::default();
        self.len -= 1;
        if self.len * 2 < self.homes && self.homes > FIRST {
            self.resize((self.len * 4 / 3).max(FIRST));
        }
    }

    fn home(&self, key: u64) -> usize {
        home(key, self.common_bits, self.homes)
    }

    /// Where the key stands, or would.
    fn seek(&self, key: u64) -> usize {
        let mut at = self.home(key);
        while let Some(slot) = self.slots.get(at)
            && slot.key != 0
            && slot.key < key
        {
            at += 1;
        }
        at
    }

    fn grow(&mut self) {
        self.resize((self.homes * 5 / 4).max(FIRST));
    }

    fn resize(&mut self, homes: usize) {
        let mut slots = vec![Slot::default(); homes + MARGIN];
        let mut next = 0;
        for slot in self.slots.iter().filter(|slot| slot.key != 0) {
            let at = home(slot.key, self.common_bits, homes).max(next);
            if at >= slots.len() {
                slots.resize(at + MARGIN, Slot::default());
            }
            slots[at] = *slot;
            next = at + 1;
        }
        (self.slots, self.homes) = (slots, homes);
    }
}

fn home(key: u64, common_bits: u32, homes: usize) -> usize {
    ((u128::from(key << common_bits) * homes as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_a_map() {
        for (seed, crowded) in [(1, false), (2, true)] {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut table, mut model) = (Table::new(8), BTreeMap::new());
            // Crowded: all keys are neighbours at the very end.
            let key = |random: &mut fastrand::Rng| match crowded {
                false => (7 << 56) | (random.u64(1..3_000) * 0x1234_5678_9abc_u64) & ((1 << 56) - 1) | 1,
                true => (8 << 56) - 1 - random.u64(..500),
            };
            for step in 0..60_000 {
                let key = key(&mut random);
                let fill = if step % 20_000 < 10_000 { 7 } else { 3 };
                match (random.u32(..10) < fill, model.contains_key(&key)) {
                    (true, false) => {
                        model.insert(key, step);
                        table.insert(key, step);
                    }
                    (true, true) => {
                        model.insert(key, step);
                        *table.get_mut(key).unwrap() = step;
                    }
                    (false, _) => {
                        model.remove(&key);
                        table.remove(key);
                    }
                }
                assert_eq!(table.len(), model.len());
                assert_eq!(table.get(key), model.get(&key).copied());
            }
            assert!(model.iter().all(|(key, value)| table.get(*key) == Some(*value)));
            let keys: Vec<u64> = model.keys().copied().collect();
            keys.into_iter().for_each(|key| table.remove(key));
            assert_eq!((table.len(), table.bytes() < 1_000), (0, true));
        }
    }

    #[test]
    fn places_are_used_well() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut table = Table::new(0);
        for len in 1..200_000_usize {
            table.insert(random.u64(1..), 1);
            assert!(len < 1_000 || table.bytes() <= len * 24, "{len}: {}", table.bytes());
        }
    }

    #[test]
    fn spreading_loses_nothing() {
        assert_eq!(spread(0), 0);
        let all: std::collections::HashSet<u64> = (0..100_000).map(spread).collect();
        assert_eq!(all.len(), 100_000);
    }
}
