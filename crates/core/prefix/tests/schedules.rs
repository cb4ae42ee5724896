//! Explores schedules of the index's concurrent paths: `cargo test -p weir-prefix --features model --test schedules`.
#![cfg(feature = "model")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use shuttle::thread;
use weir_prefix::{
    Batch, BatchWriter, EventLayout, Extras, HashAlgorithm, KeyHasher, KvIndex, KvIndexConfig, KvScratch, StoredBlocks, Tiers,
};

const SCHEDULES: usize = 2_000;

fn index() -> Arc<KvIndex> {
    let hasher = KeyHasher::new(HashAlgorithm::Xxh64, "");
    Arc::new(KvIndex::new(KvIndexConfig { hasher, block_tokens: 2, limit_bytes: usize::MAX, orphan_bytes: 1 << 10 }))
}

fn tokens(prompt: u32) -> Vec<u32> {
    // Two prompts with the first block in common.
    vec![1, 2, prompt, 4, prompt, 6]
}

fn apply(index: &KvIndex, holder: u32, write: impl FnOnce(&mut BatchWriter)) {
    let mut writer = BatchWriter::new(EventLayout::Lists);
    write(&mut writer);
    let payload = writer.finish(0.0, 0);
    Batch::read(&payload).unwrap().for_each(|event| _ = index.apply(holder, "m", &event.unwrap()));
}

fn store(index: &KvIndex, holder: u32, prompt: u32) {
    let p = u64::from(prompt);
    let blocks = StoredBlocks {
        hashes: &[10, 100 + p, 200 + p],
        tokens: &tokens(prompt),
        block_tokens: 2,
        medium: "GPU",
        ..StoredBlocks::default()
    };
    apply(index, holder, |writer| writer.stored(&blocks));
}

fn longest(index: &KvIndex, prompt: u32, holders: &[u32]) -> Vec<u32> {
    let (mut keys, mut matched) = (Vec::new(), vec![0; holders.len()]);
    index.hasher().chain(index.hasher().root("m"), &tokens(prompt), 2, &Extras::default(), &mut keys);
    index.longest(&keys, holders.iter().copied(), Tiers::ALL, &mut matched, &mut KvScratch::default());
    matched
}

#[test]
fn writers_of_different_holders_and_a_reader() {
    shuttle::check_random(
        || {
            let index = index();
            store(&index, 1, 7);
            let writers = [1_u32, 2].map(|holder| {
                let index = Arc::clone(&index);
                thread::spawn(move || {
                    store(&index, holder, 8);
                    apply(&index, holder, |writer| writer.removed(&[208], "GPU", None));
                })
            });
            // What holder 1 has of the first prompt does not change, whatever happens to blocks beside it.
            for _ in 0..2 {
                let seen = longest(&index, 7, &[1, 2]);
                assert!(seen[0] == 3 && seen[1] <= 1, "{seen:?}");
            }
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            assert_eq!(longest(&index, 8, &[1, 2]), [2, 2]);
            assert_eq!(longest(&index, 7, &[1, 2]), [3, 1]);
            assert_eq!(index.stats().held_blocks, 4 + 2);
        },
        SCHEDULES,
    );
}

#[test]
fn a_holder_that_leaves_while_events_come_leaves_nothing() {
    shuttle::check_random(
        || {
            let index = index();
            store(&index, 2, 7);
            let late = {
                let index = Arc::clone(&index);
                thread::spawn(move || store(&index, 1, 7))
            };
            let gone = {
                let index = Arc::clone(&index);
                thread::spawn(move || index.remove_holder(1))
            };
            let newcomer = {
                let index = Arc::clone(&index);
                // It may get the slot that was left.
                thread::spawn(move || store(&index, 3, 8))
            };
            late.join().unwrap();
            gone.join().unwrap();
            newcomer.join().unwrap();
            assert_eq!(longest(&index, 8, &[2, 3]), [1, 3]);
            index.remove_holder(1);
            index.remove_holder(3);
            assert_eq!(longest(&index, 7, &[1, 2, 3]), [0, 3, 0]);
            let stats = index.stats();
            assert_eq!((stats.holders, stats.blocks, stats.held_blocks), (1, 3, 3));
        },
        SCHEDULES,
    );
}

#[test]
fn clearing_and_storing_of_one_holder_are_whole() {
    shuttle::check_random(
        || {
            let index = index();
            let clearing = {
                let index = Arc::clone(&index);
                thread::spawn(move || index.clear(1))
            };
            let expecting = {
                let index = Arc::clone(&index);
                thread::spawn(move || {
                    index.expect(1, &[5]);
                    index.unexpect(1, &[5]);
                })
            };
            store(&index, 1, 7);
            clearing.join().unwrap();
            expecting.join().unwrap();
            let left = longest(&index, 7, &[1])[0];
            assert!(left == 0 || left == 3, "{left}");
            assert_eq!(index.stats().held_blocks, left as usize);
        },
        SCHEDULES,
    );
}
