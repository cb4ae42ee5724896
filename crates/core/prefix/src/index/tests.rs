use std::collections::BTreeMap;

use super::*;

/// The same, as one would write it without caring for speed.
#[derive(Default)]
struct Naive {
    /// Per holder, oldest first.
    holders: BTreeMap<u32, Vec<u64>>,
}

impl Naive {
    fn record(&mut self, holder: u32, hashes: &[u64], capacity: usize) {
        if hashes.is_empty() {
            return;
        }
        let blocks = self.holders.entry(holder).or_default();
        for hash in hashes.iter().take(capacity).rev() {
            blocks.retain(|old| old != hash);
            blocks.push(*hash);
        }
        blocks.drain(..blocks.len().saturating_sub(capacity));
    }

    fn longest(&self, hashes: &[u64], holder: u32) -> u32 {
        let blocks = self.holders.get(&holder).map_or(&[][..], Vec::as_slice);
        hashes.iter().take_while(|hash| blocks.contains(hash)).count() as u32
    }
}

fn longest(index: &ApproxIndex, hashes: &[u64], holders: &[u32], scratch: &mut LookupScratch) -> Vec<u32> {
    let mut matched = vec![u32::MAX; holders.len()];
    index.longest(hashes, holders.iter().copied(), &mut matched, scratch);
    matched
}

fn agrees_with_the_naive_index(seed: u64, holders: u32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (index, mut naive) = (ApproxIndex::new(usize::MAX), Naive::default());
    let mut scratch = LookupScratch::default();
    let all: Vec<u32> = (0..holders).collect();
    // A prompt is a branch of a small tree, so that prefixes are shared.
    let prompt = |random: &mut fastrand::Rng| {
        let mut last = 0_u64;
        let len = random.usize(0..12);
        (0..len)
            .map(|_| {
                last = last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(random.u64(1..4));
                last
            })
            .collect::<Vec<_>>()
    };
    for step in 0..10_000 {
        match random.u32(..100) {
            0 => {
                let holder = random.u32(..holders);
                assert_eq!(index.remove_holder(holder), naive.holders.remove(&holder).is_some());
            }
            1..50 => {
                let (holder, hashes) = (random.u32(..holders), prompt(&mut random));
                let capacity = if random.u32(..20) == 0 { random.usize(1..8) } else { 40 };
                index.record(holder, &hashes, capacity);
                naive.record(holder, &hashes, capacity);
            }
            _ => {
                let hashes = prompt(&mut random);
                let want: Vec<u32> = all.iter().map(|holder| naive.longest(&hashes, *holder)).collect();
                assert_eq!(longest(&index, &hashes, &all, &mut scratch), want, "step {step}");
            }
        }
    }
    let held: usize = naive.holders.values().map(Vec::len).sum();
    let mut blocks: Vec<u64> = naive.holders.values().flatten().copied().collect();
    blocks.sort_unstable();
    blocks.dedup();
    let stats = index.stats();
    assert_eq!((stats.held_blocks, stats.blocks, stats.holders), (held, blocks.len(), naive.holders.len()));

    assert_eq!(index.retain_holders(|_| false), naive.holders.len());
    let stats = index.stats();
    assert_eq!((stats.held_blocks, stats.blocks, stats.holders, stats.used_bytes), (0, 0, 0, 0));
}

#[test]
fn ten_thousand_operations_on_few_holders() {
    agrees_with_the_naive_index(0x5eed, 7);
}

#[test]
fn ten_thousand_operations_on_more_holders_than_a_word_has_bits() {
    agrees_with_the_naive_index(0xfeed, 70);
}

#[test]
fn a_block_behind_a_hole_does_not_count() {
    let index = ApproxIndex::new(usize::MAX);
    let mut scratch = LookupScratch::default();
    index.record(5, &[1, 3, 4], 10);
    index.record(6, &[1, 2, 3], 10);
    assert_eq!(longest(&index, &[1, 2, 3, 4], &[6, 5, 99], &mut scratch), [3, 1, 0]);
    assert_eq!(longest(&index, &[1, 2, 3, 4], &[5], &mut scratch), [1]);
    assert_eq!(longest(&index, &[], &[5, 6], &mut scratch), [0, 0]);
}

#[test]
fn a_full_holder_forgets_tails_before_heads() {
    let index = ApproxIndex::new(usize::MAX);
    let mut scratch = LookupScratch::default();
    index.record(0, &[1, 2, 3, 4], 6);
    index.record(0, &[11, 12, 13, 14], 6);
    assert_eq!(longest(&index, &[1, 2, 3, 4], &[0], &mut scratch), [2]);
    assert_eq!(longest(&index, &[11, 12, 13, 14], &[0], &mut scratch), [4]);
    index.record(0, &[21, 22, 23, 24, 25, 26, 27, 28], 6);
    assert_eq!(longest(&index, &[21, 22, 23, 24, 25, 26, 27, 28], &[0], &mut scratch), [6]);
    assert_eq!(index.stats().held_blocks, 6);
}

#[test]
fn memory_stays_under_its_limit_at_the_expense_of_the_largest_holder() {
    let limit = 100_000;
    let index = ApproxIndex::new(limit);
    let mut scratch = LookupScratch::default();
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..200 {
        let prompt: Vec<u64> = (0..50).map(|_| random.u64(..)).collect();
        // The second holder is past the first 64 slots' worth of names, not of slots.
        index.record(if round % 20 == 0 { 1_000 } else { 0 }, &prompt, usize::MAX);
        let stats = index.stats();
        assert!(stats.used_bytes <= limit, "{stats:?}");
        if round % 20 == 0 {
            assert_eq!(longest(&index, &prompt, &[1_000], &mut scratch), [50]);
        }
    }
    assert!(index.stats().used_bytes > limit / 2);
}

#[test]
fn slots_of_removed_holders_are_used_again() {
    let index = ApproxIndex::new(usize::MAX);
    for serial in 0..1_000 {
        index.record(serial, &[1, 2, u64::from(serial)], 10);
        if serial >= 3 {
            assert!(index.remove_holder(serial - 3));
        }
    }
    assert_eq!(index.holders(), 3);
    assert!(index.own.lock().holders.len() <= 4);
}
