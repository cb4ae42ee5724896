use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::{
    canonical::HashAlgorithm,
    event::{Batch, BatchWriter, EventLayout, StoredBlocks},
    extras::Extras,
};

const BLOCK: u32 = 4;
const MODEL: &str = "m";

fn index(limit_bytes: usize) -> KvIndex {
    let hasher = KeyHasher::new(HashAlgorithm::Xxh64, "");
    KvIndex::new(KvIndexConfig { hasher, block_tokens: BLOCK, limit_bytes, orphan_bytes: 1 << 16 })
}

/// The engine's own names: they say nothing to the index, and are made in another way than its keys.
fn name(prefix: &[u32]) -> u64 {
    prefix.iter().fold(7, |sum: u64, token| (sum ^ (u64::from(*token) + 1)).wrapping_mul(0x1000_0000_01b3).rotate_left(17))
}

fn apply(index: &KvIndex, holder: u32, write: impl FnOnce(&mut BatchWriter)) -> Applied {
    let mut writer = BatchWriter::new(EventLayout::Lists);
    write(&mut writer);
    let payload = writer.finish(0.0, 0);
    let mut sum = Applied::default();
    for event in Batch::read(&payload).unwrap() {
        let one = index.apply(holder, MODEL, &event.unwrap());
        sum.stored += one.stored;
        sum.removed += one.removed;
        sum.suppressed += one.suppressed;
        sum.orphaned += one.orphaned;
        sum.unknown += one.unknown;
        sum.skipped = sum.skipped.or(one.skipped);
    }
    sum
}

/// Blocks `from..to` of a prompt in blocks of `each`.
fn store_some(index: &KvIndex, holder: u32, prompt: &[u32], each: usize, from: usize, to: usize, medium: &str) -> Applied {
    let hashes: Vec<u64> = (from..to).map(|block| name(&prompt[..(block + 1) * each])).collect();
    let parent = (from > 0).then(|| name(&prompt[..from * each]));
    let tokens = &prompt[from * each..to * each];
    let blocks = StoredBlocks { hashes: &hashes, parent, tokens, block_tokens: each as u32, medium, ..StoredBlocks::default() };
    apply(index, holder, |writer| writer.stored(&blocks))
}

fn store(index: &KvIndex, holder: u32, prompt: &[u32]) -> Applied {
    store_some(index, holder, prompt, BLOCK as usize, 0, prompt.len() / BLOCK as usize, "GPU")
}

fn remove(index: &KvIndex, holder: u32, prefix: &[u32], medium: &str) -> Applied {
    apply(index, holder, |writer| writer.removed(&[name(prefix)], medium, None))
}

fn keys(index: &KvIndex, prompt: &[u32]) -> Vec<u64> {
    let mut out = Vec::new();
    index.hasher().chain(index.hasher().root(MODEL), prompt, BLOCK, &Extras::default(), &mut out);
    out
}

fn longest(index: &KvIndex, prompt: &[u32], holders: &[u32], tiers: Tiers) -> Vec<u32> {
    let mut matched = vec![u32::MAX; holders.len()];
    index.longest(&keys(index, prompt), holders.iter().copied(), tiers, &mut matched, &mut KvScratch::default());
    matched
}

fn prompt(seed: u32, blocks: u32) -> Vec<u32> {
    (0..blocks * BLOCK).map(|at| seed * 1_000 + at).collect()
}

/// An engine that keeps its blocks by what they contain.
struct Engine {
    each: usize,
    /// How often each block was announced, on the accelerator and on the host.
    blocks: BTreeMap<Vec<u32>, [u32; 2]>,
}

impl Engine {
    fn has(&self, prefix: &[u32], tier: usize) -> bool {
        self.blocks.get(prefix).is_some_and(|counts| counts[tier] > 0)
    }

    fn anywhere(&self, prefix: &[u32]) -> bool {
        self.has(prefix, 0) || self.has(prefix, 1)
    }

    /// Whether the router's block `block` of a prompt is wholly on a tier: there is an engine's block in which it ends, and
    /// those before it, as far as they reach into it.
    fn holds(&self, prompt: &[u32], block: usize, tier: usize) -> bool {
        let (start, end) = (block * BLOCK as usize, (block + 1) * BLOCK as usize);
        self.blocks.iter().any(|(prefix, counts)| {
            let length = prefix.len();
            counts[tier] > 0
                && length >= end
                && length - self.each < end
                && prefix[..end] == prompt[..end]
                && (1..)
                    .map_while(|back| length.checked_sub(back * self.each))
                    .take_while(|at| *at > start)
                    .all(|at| self.has(&prefix[..at], tier))
        })
    }

    fn run(&self, prompt: &[u32], tiers: &[usize]) -> u32 {
        let blocks = prompt.len() / BLOCK as usize;
        (0..blocks).take_while(|block| tiers.iter().any(|tier| self.holds(prompt, *block, *tier))).count() as u32
    }
}

const MEDIA: [&str; 2] = ["GPU", "CPU"];

fn agrees_with_engines(seed: u64, sizes: &[usize], holes: bool, steps: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let index = index(usize::MAX);
    let mut engines: Vec<Engine> = sizes.iter().map(|each| Engine { each: *each, blocks: BTreeMap::new() }).collect();
    let holders: Vec<u32> = (0..engines.len() as u32).map(|at| at * 7 + 3).collect();
    // Prompts are branches of a small tree.
    let prompt = |random: &mut fastrand::Rng| {
        let mut branch = 0;
        (0..random.usize(0..14) * 4)
            .map(|at| {
                branch = if at % 6 == 0 { random.u32(..2) } else { branch };
                branch * 100 + at as u32
            })
            .collect::<Vec<u32>>()
    };
    for step in 0..steps {
        let which = random.usize(..engines.len());
        let (engine, holder) = (&mut engines[which], holders[which]);
        match random.u32(..100) {
            0 => {
                apply(&index, holder, BatchWriter::cleared);
                engine.blocks.clear();
            }
            1..45 => {
                let prompt = prompt(&mut random);
                let blocks = prompt.len() / engine.each;
                let mut at = 0;
                while at < blocks {
                    // What is there is not said again; a run ends where something is.
                    let prefix = |at: usize| &prompt[..(at + 1) * engine.each];
                    if engine.anywhere(prefix(at)) && random.u32(..8) > 0 {
                        at += 1;
                        continue;
                    }
                    let mut end = at + 1;
                    while end < blocks && !engine.anywhere(prefix(end)) && random.u32(..6) > 0 {
                        end += 1;
                    }
                    let applied = store_some(&index, holder, &prompt, engine.each, at, end, "GPU");
                    assert_eq!((applied.stored, applied.orphaned), ((end - at) as u32, 0), "step {step}");
                    for block in at..end {
                        engine.blocks.entry(prompt[..(block + 1) * engine.each].to_vec()).or_default()[0] += 1;
                    }
                    at = end;
                }
            }
            45..55 => {
                // Blocks known by name alone are now on the host, too.
                let known: Vec<Vec<u32>> = engine.blocks.keys().filter(|_| random.u32(..4) == 0).cloned().collect();
                let hashes: Vec<u64> = known.iter().map(|prefix| name(prefix)).collect();
                let blocks = StoredBlocks { hashes: &hashes, medium: "CPU", ..StoredBlocks::default() };
                apply(&index, holder, |writer| writer.stored(&blocks));
                known.into_iter().for_each(|prefix| engine.blocks.entry(prefix).or_default()[1] += 1);
            }
            55..85 => {
                let tier = random.usize(..2);
                let on_tier: Vec<&Vec<u32>> = engine.blocks.keys().filter(|prefix| engine.has(prefix, tier)).collect();
                let Some(start) = random.choice(on_tier).cloned() else { continue };
                let mut gone = vec![start.clone()];
                if !holes {
                    // Back to front.
                    let after = engine.blocks.keys().filter(|other| other.len() > start.len() && other.starts_with(&start));
                    gone.extend(after.filter(|prefix| engine.has(prefix, tier)).cloned());
                    gone.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
                }
                for prefix in gone {
                    remove(&index, holder, &prefix, MEDIA[tier]);
                    let counts = engine.blocks.entry(prefix.clone()).or_default();
                    counts[tier] -= 1;
                    if *counts == [0, 0] {
                        engine.blocks.remove(&prefix);
                    }
                }
            }
            _ => {
                let prompt = prompt(&mut random);
                for (tiers, places) in [(Tiers::ALL, &[0, 1][..]), (Tier::Gpu.bit(), &[0]), (Tier::Cpu.bit(), &[1])] {
                    // Holes on the host alone are not looked for.
                    if tiers == Tier::Cpu.bit() {
                        continue;
                    }
                    let want: Vec<u32> = engines.iter().map(|engine| engine.run(&prompt, places)).collect();
                    assert_eq!(longest(&index, &prompt, &holders, tiers), want, "step {step} {tiers:?} {prompt:?}");
                }
            }
        }
    }
    for holder in &holders {
        assert!(index.remove_holder(*holder));
    }
    let stats = index.stats();
    assert_eq!((stats.holders, stats.blocks, stats.held_blocks, stats.engine_blocks), (0, 0, 0, 0));
    assert!(index.shards.iter().all(|shard| shard.read().len() == 0));
}

#[test]
fn blocks_of_the_engines_size() {
    agrees_with_engines(1, &[4, 4, 4], false, 4_000);
}

#[test]
fn blocks_that_go_in_any_order() {
    agrees_with_engines(2, &[4, 4, 4], true, 4_000);
}

#[test]
fn blocks_of_other_sizes() {
    agrees_with_engines(3, &[1, 2, 3, 5, 6, 8, 12], false, 3_000);
    agrees_with_engines(4, &[2, 3, 4, 6, 8], true, 3_000);
}

#[test]
fn a_hot_prefix_forgets_nobody() {
    let index = index(usize::MAX);
    let hot = prompt(1, 300);
    let holders: Vec<u32> = (0..500).collect();
    for holder in &holders {
        store(&index, *holder, &hot[..(*holder as usize % 300 + 1) * 4]);
    }
    let want: Vec<u32> = holders.iter().map(|holder| holder % 300 + 1).collect();
    assert_eq!(longest(&index, &hot, &holders, Tiers::ALL), want);
    let mut scratch = KvScratch::default();
    let mut matched = [0; 3];
    index.longest(&keys(&index, &hot), [299, 299, 299].into_iter(), Tiers::ALL, &mut matched, &mut scratch);
    assert_eq!(matched, [300; 3]);
    // One of the first, then every 64th.
    assert_eq!(scratch.probes(), 6);
    for holder in &holders[1..] {
        index.clear(*holder);
    }
    assert_eq!(longest(&index, &hot, &[0, 299], Tiers::ALL), [1, 0]);
    assert_eq!(index.stats().held_blocks, 1);
}

#[test]
fn many_endpoints_with_all_lengths() {
    let index = index(usize::MAX);
    let mut random = fastrand::Rng::with_seed(12);
    let prompts: Vec<Vec<u32>> = (0..3).map(|seed| [prompt(9, 30), prompt(seed, 170)].concat()).collect();
    let holders: Vec<u32> = (0..900).collect();
    let mut have = vec![[0; 3]; holders.len()];
    for (holder, have) in holders.iter().zip(&mut have) {
        for (prompt, have) in prompts.iter().zip(have) {
            *have = if random.bool() { random.u32(1..=200) } else { 0 };
            store(&index, *holder, &prompt[..(*have * BLOCK) as usize]);
        }
    }
    for (at, prompt) in prompts.iter().enumerate() {
        // Of the others' blocks the common beginning counts.
        let common = |have: &[u32; 3]| have[at].max(have.iter().copied().max().unwrap_or(0).min(30));
        let want: Vec<u32> = have.iter().map(common).collect();
        assert_eq!(longest(&index, prompt, &holders, Tier::Gpu.bit()), want);
    }
}

#[test]
fn what_was_announced_twice_is_gone_after_two_removals() {
    let index = index(usize::MAX);
    let one = prompt(1, 2);
    store(&index, 1, &one);
    store(&index, 1, &one);
    assert_eq!(remove(&index, 1, &one, "GPU").suppressed, 1);
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [2]);
    assert_eq!(remove(&index, 1, &one, "GPU").removed, 1);
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [1]);
    assert_eq!(remove(&index, 1, &one, "GPU").unknown, 1);
}

#[test]
fn history_that_starts_late_waits_for_its_parent() {
    let index = index(usize::MAX);
    let long = prompt(1, 6);
    // The end first, then the middle, then another end; a removal of something that waits.
    assert_eq!(store_some(&index, 1, &long, 4, 4, 6, "GPU").orphaned, 2);
    assert_eq!(store_some(&index, 1, &long, 4, 2, 4, "GPU").orphaned, 2);
    assert_eq!(remove(&index, 1, &long, "GPU").unknown, 1);
    assert_eq!(longest(&index, &long, &[1], Tiers::ALL), [0]);
    assert!(index.orphan_bytes_of(1) > 0);
    assert_eq!(store_some(&index, 1, &long, 4, 0, 2, "GPU").stored, 6);
    assert_eq!(longest(&index, &long, &[1], Tiers::ALL), [5]);
    assert_eq!(index.orphan_bytes_of(1), 0);
    // What never finds a parent stays within its limit.
    for seed in 2..2_000 {
        store_some(&index, 1, &prompt(seed, 6), 4, 1, 6, "GPU");
        assert!(index.orphan_bytes_of(1) <= 1 << 16);
    }
}

#[test]
fn an_adapters_blocks_are_under_its_name() {
    let index = index(usize::MAX);
    let one = prompt(1, 2);
    let hashes = [name(&one[..4]), name(&one)];
    let blocks = StoredBlocks {
        hashes: &hashes,
        tokens: &one,
        block_tokens: 4,
        lora_name: Some("ad"),
        cache_salt: Some("salt"),
        medium: "GPU",
        ..StoredBlocks::default()
    };
    apply(&index, 1, |writer| writer.stored(&blocks));
    let asked = |model: &str, salt: Option<&str>| {
        let mut extras = Extras::default();
        if let Some(salt) = salt {
            extras.push(0, crate::ExtraKey::Salt(salt));
        }
        let (mut keys, mut matched) = (Vec::new(), [0]);
        index.hasher().chain(index.hasher().root(model), &one, BLOCK, &extras, &mut keys);
        index.longest(&keys, [1].into_iter(), Tiers::ALL, &mut matched, &mut KvScratch::default());
        matched[0]
    };
    assert_eq!((asked("ad", Some("salt")), asked("ad", None), asked(MODEL, Some("salt")), asked("ad", Some("x"))), (2, 0, 0, 0));
}

#[test]
fn expected_blocks_count_until_they_are_not_expected() {
    let index = index(usize::MAX);
    let one = prompt(1, 3);
    let keys = keys(&index, &one);
    index.expect(1, &keys);
    index.expect(1, &keys);
    assert_eq!(longest(&index, &one, &[1, 2], Tiers::ALL), [3, 0]);
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL.without(Tier::Speculative)), [0]);
    index.unexpect(1, &keys);
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [3]);
    store(&index, 1, &one[..8]);
    index.unexpect(1, &keys);
    index.unexpect(1, &keys);
    index.unexpect(9, &keys);
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [2]);
    // An engine that starts anew still gets what was sent to it.
    index.expect(1, &keys);
    index.clear(1);
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [3]);
    assert!(index.remove_holder(1) && !index.remove_holder(1));
    assert_eq!(index.stats().held_blocks, 0);
}

/// Blocks of a group of layers, all of a prompt's `of`.
fn store_group(index: &KvIndex, prompt: &[u32], of: std::ops::Range<usize>, group: (u32, &str, Option<u32>)) -> Applied {
    let hashes: Vec<u64> = of.clone().map(|block| name(&prompt[..(block + 1) * 4])).collect();
    let parent = (of.start > 0).then(|| name(&prompt[..of.start * 4]));
    let tokens = &prompt[of.start * 4..of.end * 4];
    let group = Some(group);
    let blocks =
        StoredBlocks { hashes: &hashes, parent, tokens, block_tokens: 4, medium: "GPU", group, ..StoredBlocks::default() };
    apply(index, 1, |writer| writer.stored(&blocks))
}

#[test]
fn a_hybrid_model_hits_where_every_group_has_what_it_needs() {
    let index = index(usize::MAX);
    let one = prompt(1, 10);
    store_group(&index, &one, 0..8, (0, "full_attention", None));
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [8]);
    // A window of 9 tokens: the two blocks before the end of a hit.
    store_group(&index, &one, 0..3, (1, "sliding_window", Some(9)));
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [3]);
    // Its own parent is gone; the other group knows it.
    assert_eq!(store_group(&index, &one, 5..8, (1, "sliding_window", Some(9))).orphaned, 0);
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [8]);
    apply(&index, 1, |writer| writer.removed(&[name(&one[..32])], "GPU", Some(1)));
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [7]);
    apply(&index, 1, |writer| writer.removed(&[name(&one[..28])], "GPU", Some(1)));
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [3]);
    // A state that is carried along: there has to be one at the end.
    store_group(&index, &one, 1..2, (2, "mamba", None));
    assert_eq!(longest(&index, &one, &[1], Tiers::ALL), [2]);
    store_group(&index, &one, 0..10, (3, "cross_attention", None));
    assert_eq!(store_group(&index, &one, 0..1, (3, "unknown", None)).skipped.unwrap().reason(), "unsupported_cache_kind");
    let removed = apply(&index, 1, |writer| writer.removed(&[1], "GPU", Some(9)));
    assert_eq!(removed.skipped, Some(Skipped::UnknownGroup));
    index.clear(1);
    assert_eq!((longest(&index, &one, &[1], Tiers::ALL), index.stats().held_blocks), (vec![0], 0));
}

#[test]
fn spans_that_are_not_dense_are_skipped() {
    let index = index(usize::MAX);
    for (hashes, tokens, block_tokens, group, why) in [
        (&[1, 2][..], 7, 4, None, Skipped::NonDenseBlockSpan),
        (&[1, 2], 8, 3, None, Skipped::NonDenseBlockSpan),
        (&[], 8, 4, None, Skipped::NonDenseBlockSpan),
        (&[1, 2], 8, 0, Some((0, "full_attention", None)), Skipped::InvalidBlockSize),
    ] {
        let tokens: Vec<u32> = (0..tokens).collect();
        let blocks = StoredBlocks { hashes, tokens: &tokens, block_tokens, medium: "GPU", group, ..StoredBlocks::default() };
        assert_eq!(apply(&index, 1, |writer| writer.stored(&blocks)).skipped, Some(why));
    }
}

#[test]
fn memory_stays_under_its_limit_at_the_expense_of_prefixes_ends() {
    let limit = 300_000;
    let index = index(limit);
    for seed in 0..400 {
        let holder = u32::from(seed % 20 == 0);
        store(&index, holder, &prompt(seed, 40));
        let stats = index.stats();
        assert!(stats.used_bytes() <= limit, "{seed}: {stats:?}");
    }
    assert!(index.stats().used_bytes() > limit / 2);
    // The small endpoint lost nothing, and of what the large one has no beginning is missing.
    assert_eq!(longest(&index, &prompt(380, 40), &[1], Tiers::ALL), [40]);
    let cell = index.cell(0).unwrap();
    assert_eq!(cell.state.lock().regular(), (true, true));
}

#[test]
fn slots_are_used_again() {
    let index = index(usize::MAX);
    for holder in 0..500 {
        store(&index, holder, &prompt(holder % 5, 3));
        assert!(holder < 3 || index.remove_holder(holder - 3));
    }
    assert_eq!((index.stats().holders, index.registry.read().cells.len()), (3, 4));
    assert_eq!(index.retain_holders(|holder| holder == 499), 2);
    let mut seen = HashMap::new();
    index.for_each_holder(keys(&index, &prompt(4, 3))[0], |holder, tiers| assert!(seen.insert(holder, tiers).is_none()));
    assert_eq!(seen, HashMap::from([(499, Tier::Gpu.bit())]));
    assert_eq!(index.tiers_of(499, keys(&index, &prompt(4, 3))[2]), Tier::Gpu.bit());
}
