//! Ways to choose a server.

use weir_prefix::{Batch, BatchWriter, EventLayout, Extras, HashAlgorithm, KeyHasher, KvIndex, KvIndexConfig, KvScratch, Tiers};

use super::server::Server;

/// A way to choose a server. Among equals the first one is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Each in turn.
    RoundRobin,
    /// The one with the least load.
    LeastLoad,
    /// The one with the longest cached prefix; among equals the one with the least load.
    LongestPrefix,
    /// The highest sum of the part of the prompt that is cached and of how little load there is, each with a weight. Load counts 1
    /// where it is least and 0 where it is most.
    Weighted {
        /// Weight of the cached part.
        prefix: f64,
        /// Weight of the load.
        load: f64,
    },
    /// Blocks that the cache saves less what waiting behind others costs, in blocks. What is cached is taken from the exact
    /// index, which is fed with the servers' events.
    Saved,
}

impl Policy {
    /// The policies that are compared, with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("round-robin", Self::RoundRobin),
        ("least-load", Self::LeastLoad),
        ("prefix", Self::LongestPrefix),
        ("prefix3-load2", Self::Weighted { prefix: 3.0, load: 2.0 }),
        ("prefix3-load1", Self::Weighted { prefix: 3.0, load: 1.0 }),
        ("weir", Self::Saved),
    ];
}

/// Blocks that one block of load beyond the least loaded server's costs a request that comes now.
const LOAD_COST: f64 = 0.005;

/// What a policy has to choose by.
pub(super) struct Choice<'a> {
    pub(super) number: usize,
    pub(super) prompt: &'a [u32],
    pub(super) caches: &'a [Server],
    pub(super) loads: &'a [u64],
}

impl Choice<'_> {
    fn matched(&self) -> Vec<usize> {
        self.caches.iter().map(|cache| cache.matched(self.prompt)).collect()
    }
}

/// A policy and what it knows.
pub(super) struct Knowledge {
    policy: Policy,
    index: Option<KvIndex>,
    events: BatchWriter,
    scratch: KvScratch,
    keys: Vec<u64>,
}

/// There is only one model.
const MODEL: &str = "";

impl Knowledge {
    pub(super) fn new(policy: Policy) -> Self {
        let hasher = KeyHasher::new(HashAlgorithm::Xxh64, "");
        let config = KvIndexConfig { hasher, block_tokens: 1, limit_bytes: usize::MAX, orphan_bytes: 1 << 20 };
        Self {
            policy,
            index: (policy == Policy::Saved).then(|| KvIndex::new(config)),
            events: BatchWriter::new(EventLayout::Lists),
            scratch: KvScratch::default(),
            keys: Vec::new(),
        }
    }

    /// The server for a prompt.
    pub(super) fn choose(&mut self, choice: &Choice<'_>) -> usize {
        let loads = choice.loads;
        let (least, most) = (loads.iter().copied().min().unwrap_or(0), loads.iter().copied().max().unwrap_or(0));
        match self.policy {
            Policy::RoundRobin => choice.number % loads.len(),
            Policy::LeastLoad => best(loads.iter().map(|load| -(*load as f64))),
            Policy::LongestPrefix => {
                let matched = choice.matched();
                let longest = matched.iter().copied().max().unwrap_or(0);
                best(matched.iter().zip(loads).map(
                    |(matched, load)| {
                        if *matched == longest { -(*load as f64) } else { f64::NEG_INFINITY }
                    },
                ))
            }
            Policy::Weighted { prefix, load: weight } => {
                let (blocks, spread) = (choice.prompt.len().max(1) as f64, (most - least) as f64);
                best(choice.matched().iter().zip(loads).map(|(matched, load)| {
                    let free = if spread > 0.0 { (most - load) as f64 / spread } else { 1.0 };
                    prefix * *matched as f64 / blocks + weight * free
                }))
            }
            Policy::Saved => {
                let matched = self.known(choice);
                best(matched.iter().zip(loads).map(|(matched, load)| f64::from(*matched) - LOAD_COST * (load - least) as f64))
            }
        }
    }

    /// The server serves a prompt.
    pub(super) fn serve(&mut self, server: usize, cache: &mut Server, prompt: &[u32]) {
        cache.serve(prompt, &mut self.events);
        let payload = self.events.finish(0.0, 0);
        let Some(index) = &self.index else { return };
        let events = Batch::read(&payload).into_iter().flatten().flatten();
        events.for_each(|event| _ = index.apply(server as u32, MODEL, &event));
    }

    /// Leading blocks that each server has, as its events say.
    pub(super) fn known(&mut self, choice: &Choice<'_>) -> Vec<u32> {
        let mut matched = vec![0; choice.loads.len()];
        if let Some(index) = &self.index {
            self.keys.clear();
            index.hasher().chain(index.hasher().root(MODEL), choice.prompt, 1, &Extras::default(), &mut self.keys);
            index.longest(&self.keys, 0..matched.len() as u32, Tiers::ALL, &mut matched, &mut self.scratch);
        }
        matched
    }
}

/// The place of the highest number; among equals the first.
fn best(scores: impl Iterator<Item = f64>) -> usize {
    let first = (0, f64::NEG_INFINITY);
    scores.enumerate().fold(first, |best, (at, score)| if score > best.1 { (at, score) } else { best }).0
}
