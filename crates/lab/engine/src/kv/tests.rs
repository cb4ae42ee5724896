//! Eviction vectors, and the cache against a naive model.

use std::collections::HashMap;

use super::*;

const BASE: AdapterId = AdapterId::BASE;

fn cache(blocks: u32) -> KvCache {
    KvCache::new(KvConfig { blocks, block_size: 1, prefix_caching: true })
}

/// Opens a whole prompt and stores its blocks; returns what it holds and how many were hits.
fn open(cache: &mut KvCache, adapter: AdapterId, hashes: &[u64]) -> Result<(Vec<BlockId>, usize), NoCapacity> {
    let run = cache.leading_run(adapter, hashes);
    let mut held = Vec::new();
    cache.open(adapter, &hashes[..run], hashes.len(), &mut held)?;
    for (&block, &hash) in held.iter().zip(hashes) {
        cache.store(block, adapter, hash);
    }
    Ok((held, run))
}

#[test]
fn full_cache_evicts_the_released_request() {
    let mut cache = cache(4);
    let (_r1, _) = open(&mut cache, BASE, &[1, 2]).unwrap();
    let (mut r2, _) = open(&mut cache, BASE, &[3, 4]).unwrap();
    cache.release(&mut r2);
    open(&mut cache, BASE, &[5, 6]).unwrap();
    assert_eq!((cache.stored(), cache.evicted()), (6, 2));
    assert_eq!(cache.leading_run(BASE, &[3]), 0);
    assert_eq!(cache.leading_run(BASE, &[4]), 0);
    assert_eq!(cache.leading_run(BASE, &[1, 2]), 2);
}

#[test]
fn pinned_blocks_are_never_evicted() {
    let mut cache = cache(4);
    open(&mut cache, BASE, &[1, 2]).unwrap();
    open(&mut cache, BASE, &[3, 4]).unwrap();
    assert_eq!(open(&mut cache, BASE, &[5]), Err(NoCapacity));
    assert_eq!((cache.pinned(), cache.unused(), cache.evicted()), (4, 0, 0));
}

#[test]
fn shared_blocks_count_their_holders() {
    let mut cache = cache(5);
    let (mut r1, _) = open(&mut cache, BASE, &[1, 2]).unwrap();
    let (_r2, hits) = open(&mut cache, BASE, &[1, 3]).unwrap();
    assert_eq!(hits, 1);
    assert_eq!((cache.refs(BASE, 1), cache.pinned()), (2, 3));
    cache.release(&mut r1);
    assert_eq!((cache.refs(BASE, 1), cache.unused(), cache.pinned()), (1, 1, 2));
}

#[test]
fn adapters_do_not_share_and_leave_first() {
    let mut cache = cache(4);
    let lora = AdapterId(1);
    let (mut base, _) = open(&mut cache, BASE, &[1, 2]).unwrap();
    let (mut tuned, hits) = open(&mut cache, lora, &[1, 2]).unwrap();
    assert_eq!((hits, cache.pinned()), (0, 4));
    cache.release(&mut base);
    cache.release(&mut tuned);
    cache.forget(lora);
    assert_eq!(cache.leading_run(lora, &[1]), 0);
    open(&mut cache, BASE, &[7, 8]).unwrap();
    assert_eq!(cache.leading_run(BASE, &[1, 2]), 2, "the base model's blocks are older, yet they stay");
}

#[test]
fn chains_lose_their_ends_first() {
    let mut cache = cache(4);
    let (mut held, _) = open(&mut cache, BASE, &[1, 2, 3, 4]).unwrap();
    cache.release(&mut held);
    open(&mut cache, BASE, &[9, 8]).unwrap();
    assert_eq!(cache.leading_run(BASE, &[1, 2, 3, 4]), 2);
}

#[test]
fn a_gap_ends_the_run() {
    let mut cache = cache(8);
    open(&mut cache, BASE, &[1, 2, 3]).unwrap();
    assert_eq!(cache.leading_run(BASE, &[1, 9, 3]), 1);
}

#[test]
fn reset_forgets_all_and_loses_nothing() {
    let mut cache = cache(4);
    let (mut r1, _) = open(&mut cache, BASE, &[1, 2]).unwrap();
    let (mut r2, _) = open(&mut cache, BASE, &[3, 4]).unwrap();
    cache.release(&mut r2);
    cache.reset();
    assert_eq!((cache.leading_run(BASE, &[1]), cache.unused()), (0, 0));
    cache.release(&mut r1);
    assert!(open(&mut cache, BASE, &[5, 6, 7, 8]).is_ok());
}

#[test]
fn without_prefix_caching_nothing_is_found() {
    let mut cache = KvCache::new(KvConfig { blocks: 4, block_size: 1, prefix_caching: false });
    let (mut held, _) = open(&mut cache, BASE, &[1, 2]).unwrap();
    cache.release(&mut held);
    assert_eq!((cache.leading_run(BASE, &[1]), cache.unused(), cache.pinned()), (0, 0, 0));
}

/// Contents with holders and time of release, looked through from end to end.
#[derive(Default)]
struct Naive {
    held: HashMap<u64, u32>,
    unused: Vec<u64>, // oldest first
}

#[test]
fn agrees_with_a_naive_model() {
    const CAPACITY: usize = 24;
    let mut rng = fastrand::Rng::with_seed(0x5eed);
    let mut cache = cache(CAPACITY as u32);
    let mut naive = Naive::default();
    let mut live: Vec<(Vec<u64>, Vec<BlockId>)> = Vec::new();
    for _ in 0..20_000 {
        if live.len() < 6 && rng.bool() {
            // A chain: content i of family f is unique to (f, i), so that prefixes are shared.
            let family = rng.u64(0..5) * 100;
            let chain: Vec<u64> = (0..rng.u64(1..9)).map(|i| family + i).collect();
            let run = chain.iter().take_while(|h| naive.held.contains_key(h) || naive.unused.contains(h)).count();
            assert_eq!(cache.leading_run(BASE, &chain), run);
            // Contents behind a gap get a private block while the first one lives; keep those out of the model.
            if chain[run..].iter().any(|h| naive.held.contains_key(h) || naive.unused.contains(h)) {
                continue;
            }
            let revived = chain[..run].iter().filter(|h| naive.unused.contains(h)).count();
            let fits = naive.held.len() + revived + chain.len() - run <= CAPACITY;
            match open(&mut cache, BASE, &chain) {
                Err(NoCapacity) => assert!(!fits),
                Ok((held, hits)) => {
                    assert!(fits);
                    assert_eq!(hits, run);
                    naive.unused.retain(|h| !chain.contains(h));
                    for &content in &chain {
                        *naive.held.entry(content).or_default() += 1;
                    }
                    while naive.held.len() + naive.unused.len() > CAPACITY {
                        naive.unused.remove(0);
                    }
                    live.push((chain, held));
                }
            }
        } else if !live.is_empty() {
            let (chain, mut held) = live.swap_remove(rng.usize(0..live.len()));
            cache.release(&mut held);
            for content in chain.into_iter().rev() {
                let holders = naive.held.get_mut(&content).unwrap();
                *holders -= 1;
                if *holders == 0 {
                    naive.held.remove(&content);
                    naive.unused.push(content);
                }
            }
        }
        assert_eq!(cache.pinned() as usize, naive.held.len());
        assert_eq!(cache.unused() as usize, naive.unused.len());
        for (&content, &holders) in &naive.held {
            assert_eq!(cache.refs(BASE, content), holders);
        }
    }
    assert!(cache.evicted() > 1000);
}

#[test]
fn what_happens_is_told_in_order() {
    let mut kv = KvCache::new(KvConfig { blocks: 2, block_size: 2, prefix_caching: true });
    let (chain, tokens) = ([11, 12], [1, 2, 3, 4]);
    let mut held = Vec::new();
    kv.open(AdapterId::BASE, &[], 2, &mut held).unwrap();
    assert!(kv.store(held[0], AdapterId::BASE, 11));
    kv.note_stored(AdapterId::BASE, &chain, 0..1, &tokens);
    assert!(kv.take_changes().is_empty(), "nobody asked");
    kv.record_changes();
    assert!(kv.store(held[1], AdapterId::BASE, 12) && !kv.store(held[1], AdapterId::BASE, 12));
    kv.note_stored(AdapterId::BASE, &chain, 1..2, &tokens);
    kv.release(&mut held);
    kv.grow(1, &mut held).unwrap();
    kv.reset();
    let stored = KvChange::Stored { adapter: AdapterId::BASE, hashes: vec![12], parent: Some(11), tokens: vec![3, 4] };
    assert_eq!(kv.take_changes(), [stored, KvChange::Removed { hash: 12 }, KvChange::Cleared]);
    // The same content of an adapter has another name.
    assert!(kv.store(held[0], AdapterId(1), 11));
    kv.note_stored(AdapterId(1), &chain, 0..1, &[]);
    kv.forget(AdapterId(1));
    let changes = kv.take_changes();
    let [KvChange::Stored { hashes, parent: None, tokens, .. }, KvChange::Removed { hash }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert!(hashes == &[*hash] && *hash != 11 && tokens.is_empty());
}
