//! Replays a trace of prompts against servers that are nothing but a cache: what a routing policy is worth, without time.
//!
//! A server keeps the blocks it used last. A prompt's cached blocks are those at its beginning that the server has; serving it
//! uses all of its blocks in order, and the others count as the server's load.

mod policy;
mod server;
#[cfg(test)]
mod tests;

pub use self::policy::Policy;
use self::{
    policy::{Choice, Knowledge},
    server::Server,
};

/// What came out of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Replayed {
    /// Blocks of all prompts.
    pub blocks: u64,
    /// Of these, blocks that the server had.
    pub hits: u64,
    /// Load of the busiest server by the mean load; 1 without load.
    pub imbalance: f64,
}

impl Replayed {
    /// Part of the blocks that the server had, 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        if self.blocks == 0 { 0.0 } else { self.hits as f64 / self.blocks as f64 }
    }
}

/// Sends each prompt (ids of its blocks; equal ids mean equal prefixes) to one of `servers` that hold `blocks_each`, as `policy`
/// says. O(blocks) each, times `servers` for policies that look into every cache.
pub fn replay<'a>(prompts: impl IntoIterator<Item = &'a [u32]>, servers: usize, blocks_each: usize, policy: Policy) -> Replayed {
    let servers = servers.max(1);
    let mut caches: Vec<Server> = (0..servers).map(|_| Server::new(blocks_each.max(1))).collect();
    let mut loads = vec![0_u64; servers];
    let mut knowledge = Knowledge::new(policy);
    let mut out = Replayed::default();
    for (number, prompt) in prompts.into_iter().enumerate() {
        let chosen = knowledge.choose(&Choice { number, prompt, caches: &caches, loads: &loads }).min(servers - 1);
        let hits = caches[chosen].matched(prompt);
        knowledge.serve(chosen, &mut caches[chosen], prompt);
        loads[chosen] += (prompt.len() - hits) as u64;
        out.hits += hits as u64;
        out.blocks += prompt.len() as u64;
    }
    let (sum, most) = (loads.iter().sum::<u64>(), loads.iter().copied().max().unwrap_or(0));
    out.imbalance = if sum == 0 { 1.0 } else { most as f64 * servers as f64 / sum as f64 };
    out
}
