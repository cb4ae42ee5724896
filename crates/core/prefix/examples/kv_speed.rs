//! Prints how fast the exact index is and what it takes, on published traces:
//! `cargo run --release -p weir-prefix --example kv_speed [replay|memory|lookups]`. One core; one op is one block inserted, removed or looked at.
#![allow(clippy::print_stdout)]

use std::{
    collections::HashMap,
    hint::black_box,
    io::Read,
    time::{Duration, Instant},
};

use weir_prefix::{
    Batch, BatchWriter, BlockLru, EventLayout, Extras, HashAlgorithm, KeyHasher, KvIndex, KvIndexConfig, KvScratch, StoredBlocks,
    Tier, Tiers,
};

fn index(block_tokens: u32) -> KvIndex {
    let hasher = KeyHasher::new(HashAlgorithm::Xxh64, "");
    KvIndex::new(KvIndexConfig { hasher, block_tokens, limit_bytes: usize::MAX, orphan_bytes: 1 << 20 })
}

/// The prompts of a trace, as ids of their blocks.
fn trace(name: &str) -> Result<Vec<Vec<u32>>, Box<dyn std::error::Error>> {
    let path = format!("{}/../../../testdata/traces/{name}_trace.jsonl.gz", env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_string(&mut text)?;
    let ids = |line: &str| {
        let (_, list) = line.split_once("\"hash_ids\": [")?;
        list.trim_end_matches("]}").split(", ").map(|id| id.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    text.lines().map(|line| ids(line).ok_or_else(|| format!("not a line of a trace: {line}").into())).collect()
}

/// What a router sees of a request: its blocks' keys, and what the server that got it says afterwards.
struct Step {
    keys: Vec<u64>,
    holder: u32,
    payload: Vec<u8>,
}

/// Round robin over servers that keep the blocks used last. Blocks have as many tokens as asked for, all made from the id.
fn steps(trace: &[Vec<u32>], servers: u32, blocks_each: usize, index: &KvIndex) -> (Vec<Step>, u64) {
    let each = index.block_tokens();
    let mut caches: Vec<BlockLru> = (0..servers).map(|_| BlockLru::default()).collect();
    let mut keys_of: HashMap<u32, u64> = HashMap::new();
    let (mut changes, mut out) = (0, Vec::new());
    for (number, prompt) in trace.iter().enumerate() {
        let holder = number as u32 % servers;
        let cache = &mut caches[holder as usize];
        let mut writer = BatchWriter::new(EventLayout::Lists);
        let (mut keys, mut parent) = (Vec::new(), index.hasher().root(""));
        let mut run: Option<usize> = None;
        let mut removed = Vec::new();
        for (at, id) in prompt.iter().enumerate() {
            let tokens: Vec<u32> = (0..each).map(|token| id * each + token).collect();
            parent = *keys_of.entry(*id).or_insert_with(|| index.hasher().block(parent, &tokens, std::iter::empty()));
            keys.push(parent);
            let new = cache.touch(u64::from(*id) + 1);
            if cache.len() > blocks_each {
                removed.extend(cache.pop_oldest());
            }
            match (new, run) {
                (true, None) => run = Some(at),
                (false, Some(start)) => {
                    write(&mut writer, prompt, start..at, each);
                    run = None;
                }
                _ => {}
            }
            changes += u64::from(new);
        }
        if let Some(start) = run {
            write(&mut writer, prompt, start..prompt.len(), each);
        }
        changes += removed.len() as u64;
        if !removed.is_empty() {
            writer.removed(&removed, "GPU", None);
        }
        out.push(Step { keys, holder, payload: writer.finish(0.0, 0) });
    }
    (out, changes)
}

fn write(writer: &mut BatchWriter, prompt: &[u32], run: std::ops::Range<usize>, each: u32) {
    let hashes: Vec<u64> = prompt[run.clone()].iter().map(|id| u64::from(*id) + 1).collect();
    let parent = run.start.checked_sub(1).map(|before| u64::from(prompt[before]) + 1);
    let tokens: Vec<u32> = prompt[run].iter().flat_map(|id| (0..each).map(move |token| id * each + token)).collect();
    writer.stored(&StoredBlocks {
        hashes: &hashes,
        parent,
        tokens: &tokens,
        block_tokens: each,
        medium: "GPU",
        ..Default::default()
    });
}

/// Applies events and looks prompts up in turn; what a router does, without anything else.
fn replay(name: &str, trace: &[Vec<u32>], servers: u32, each: u32) {
    let (steps, changes) = steps(trace, servers, 16_384, &index(each));
    let mut best = (Duration::MAX, 0);
    for _ in 0..7 {
        let index = index(each);
        let mut scratch = KvScratch::default();
        let mut matched = vec![0; servers as usize];
        let start = Instant::now();
        for step in &steps {
            index.longest(black_box(&step.keys), 0..servers, Tiers::ALL, &mut matched, &mut scratch);
            for event in Batch::read(&step.payload).into_iter().flatten().flatten() {
                index.apply(step.holder, "", &event);
            }
        }
        best = best.min((start.elapsed(), scratch.probes()));
    }
    let (spent, probes) = (best.0.as_secs_f64(), best.1);
    let ops = (changes + probes) as f64;
    println!(
        "{name}, {servers} servers of 16,384 blocks of {each} token(s): {changes} changes and {probes} probes in {:.1} ms, {:.1} M ops/s",
        spent * 1e3,
        ops / spent / 1e6
    );
}

fn memory(name: &str, trace: &[Vec<u32>], servers: u32) {
    let (steps, _) = steps(trace, servers, 16_384, &index(1));
    let mut filled = None;
    let measured = allocation_counter::measure(|| {
        let index = index(1);
        for step in &steps {
            for event in Batch::read(&step.payload).into_iter().flatten().flatten() {
                index.apply(step.holder, "", &event);
            }
        }
        filled = Some(index);
    });
    let Some(index) = filled else { return };
    let all = measured.bytes_current as usize;
    let stats = index.stats();
    // Holders' own memory is what is left when they are gone; the table keeps nothing then.
    let engine = (stats.engine_bytes as f64) / stats.engine_blocks as f64;
    println!(
        "{name}, {servers} servers: {} pairs of {} blocks, {:.1} bytes a pair in all, of which engines' names {engine:.1}, and {:.1} the index",
        stats.held_blocks,
        stats.blocks,
        all as f64 / stats.held_blocks as f64,
        (all - stats.engine_bytes) as f64 / stats.held_blocks as f64
    );
}

/// Lookups of prompts of 625 blocks (10,000 tokens of 16) that some endpoints hold to different lengths.
fn lookups(endpoints: u32) {
    let index = index(1);
    let mut random = fastrand::Rng::with_seed(7);
    let prompts: Vec<Vec<u32>> =
        (0..64_u32).map(|prompt| (0..625).map(|at| if at < 40 { at } else { prompt << 16 | at }).collect()).collect();
    let hashes = |prompt: &[u32]| prompt.iter().map(|token| u64::from(*token) + 1).collect::<Vec<u64>>();
    for endpoint in 0..endpoints {
        let mut writer = BatchWriter::new(EventLayout::Lists);
        for _ in 0..3 {
            let prompt = &prompts[random.usize(..prompts.len())];
            let length = random.usize(1..=prompt.len());
            let tokens = &prompt[..length];
            writer.stored(&StoredBlocks {
                hashes: &hashes(tokens),
                tokens,
                block_tokens: 1,
                medium: "GPU",
                ..Default::default()
            });
        }
        let payload = writer.finish(0.0, 0);
        Batch::read(&payload).into_iter().flatten().flatten().for_each(|event| _ = index.apply(endpoint, "", &event));
    }
    let keys: Vec<Vec<u64>> = prompts
        .iter()
        .map(|prompt| {
            let mut keys = Vec::new();
            index.hasher().chain(index.hasher().root(""), prompt, 1, &Extras::default(), &mut keys);
            keys
        })
        .collect();
    let mut scratch = KvScratch::default();
    let mut matched = vec![0; endpoints as usize];
    let mut times: Vec<Duration> = (0..20_000)
        .map(|at| {
            let start = Instant::now();
            index.longest(black_box(&keys[at % keys.len()]), 0..endpoints, Tier::Gpu.bit(), &mut matched, &mut scratch);
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |part: f64| times[(part * times.len() as f64) as usize].as_nanos() as f64 / 1e3;
    println!(
        "{endpoints} endpoints, 625 blocks: p50 {:.1} µs, p99 {:.1} µs, {:.0} probes a lookup",
        at(0.5),
        at(0.99),
        scratch.probes() as f64 / 20_000.0
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let only = std::env::args().nth(1);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    for name in ["conversation", "synthetic"] {
        let trace = trace(name)?;
        for (servers, each) in [(8, 1), (64, 1), (8, 16)] {
            if wanted("replay") {
                replay(name, &trace, servers, each);
            }
        }
        for servers in [8, 64] {
            if wanted("memory") {
                memory(name, &trace, servers);
            }
        }
    }
    for endpoints in [100, 1_000, 7_000] {
        if wanted("lookups") {
            lookups(endpoints);
        }
    }
    Ok(())
}
