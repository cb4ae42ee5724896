//! Prints how fast hashing, recording and looking up are: `cargo run --release -p weir-prefix --example speed`.
#![allow(clippy::print_stdout)]

use std::{hint::black_box, time::Instant};

use weir_prefix::{ApproxIndex, BlockHasher, LookupScratch, chain_seed};

fn main() {
    let mut random = fastrand::Rng::with_seed(1);
    let prompt: Vec<u8> = (0..409_600).map(|_| random.u8(..)).collect();
    let (mut hasher, mut hashes) = (BlockHasher::default(), Vec::new());
    let rounds = 2_000;
    let start = Instant::now();
    for _ in 0..rounds {
        hasher.start(64, 2_048);
        hasher.bytes(black_box(&prompt));
        hasher.finish();
        hashes.clear();
        hasher.chain(chain_seed("m", ""), &mut hashes);
    }
    let spent = start.elapsed().as_secs_f64();
    println!("hash and chain: {:.1} GB/s, {} blocks", (prompt.len() * rounds) as f64 / spent / 1e9, hashes.len());

    for holders in [8_u32, 64, 1_000] {
        let index = ApproxIndex::new(usize::MAX);
        for holder in 0..holders {
            let noise: Vec<u64> = (0..500_000 / u64::from(holders)).map(|_| random.u64(..)).collect();
            index.record(holder, &noise, 31_250);
        }
        index.record(0, &hashes, 31_250);
        index.record(holders / 2, &hashes[..800], 31_250);
        let mut matched = vec![0; holders as usize];
        let mut scratch = LookupScratch::default();
        let rounds = 2_000;
        let start = Instant::now();
        for _ in 0..rounds {
            index.longest(black_box(&hashes), 0..holders, &mut matched, &mut scratch);
        }
        let lookup = start.elapsed().as_secs_f64() / f64::from(rounds) * 1e6;
        let start = Instant::now();
        for _ in 0..rounds {
            index.record(0, black_box(&hashes), 31_250);
        }
        let known = start.elapsed().as_secs_f64() / f64::from(rounds) * 1e6;
        let fresh: Vec<Vec<u64>> = (0..200).map(|_| (0..1_600).map(|_| random.u64(..)).collect()).collect();
        let unknown = fresh.iter().map(|prompt| {
            let start = Instant::now();
            index.record(0, prompt, 31_250);
            start.elapsed()
        });
        let unknown = unknown.min().unwrap_or_default().as_secs_f64() * 1e6;
        println!(
            "{holders} holders, {} blocks: longest of {} blocks {lookup:.1} µs, record known {known:.1} µs, new {unknown:.1} µs, {:?}",
            index.len(),
            hashes.len(),
            index.stats()
        );
        assert_eq!((matched[0], matched[holders as usize / 2]), (1_600, 800));
    }
}
