//! Which requests come when: the same for every policy of one seed.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::bodies::{MODEL, prose};

#[derive(Clone, Debug, Serialize, clap::Args)]
pub(crate) struct Shape {
    /// Requests/s over the whole fleet.
    #[arg(long, default_value_t = 60.0)]
    pub(crate) rate: f64,
    /// Seconds that count.
    #[arg(long, default_value_t = 15.0)]
    pub(crate) seconds: f64,
    /// Seconds before that, to fill the caches.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) warm_up: f64,
    #[arg(long, default_value_t = 2_800)]
    pub(crate) prefix_tokens: u32,
    /// What the distinct prefixes fill of the fleet's KV cache.
    #[arg(long, default_value_t = 0.7)]
    pub(crate) share: f64,
    /// Prompt tokens of each request after its prefix, shared with no other.
    #[arg(long, default_value_t = 60)]
    pub(crate) question_tokens: u32,
    #[arg(long, default_value_t = 32)]
    pub(crate) output_tokens: u32,
}

pub(super) struct Workload {
    shape: Shape,
    prefixes: Vec<String>,
    share_of_cache: f64,
    bytes_per_token: f64,
    /// When each request is due, and its prefix.
    arrivals: Vec<(Duration, usize)>,
    seed: u64,
}

impl Workload {
    pub(super) fn new(shape: &Shape, cache_tokens: u64, tokens_per_byte: f64, seed: u64) -> Self {
        let bytes_per_token = 1.0 / tokens_per_byte;
        let prefix_tokens = f64::from(shape.prefix_tokens.max(1));
        let count = ((cache_tokens as f64 * shape.share / prefix_tokens).round() as usize).clamp(1, 10_000);
        let bytes = (prefix_tokens * bytes_per_token) as usize;
        let prefixes = (0..count as u64).map(|at| prose(seed << 32 | at, bytes)).collect();
        let mut random = fastrand::Rng::with_seed(seed);
        let end = (shape.warm_up + shape.seconds).min(600.0);
        let mut due = 0.0;
        let arrivals = std::iter::from_fn(|| {
            due += -(1.0 - random.f64()).ln() / shape.rate.clamp(0.1, 10_000.0);
            (due < end).then(|| (Duration::from_secs_f64(due), random.usize(..count)))
        })
        .collect();
        let share_of_cache = count as f64 * prefix_tokens / cache_tokens as f64;
        Self { shape: shape.clone(), prefixes, share_of_cache, bytes_per_token, arrivals, seed }
    }

    pub(super) fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    pub(super) fn share_of_cache(&self) -> f64 {
        self.share_of_cache
    }

    pub(super) fn arrivals(&self) -> &[(Duration, usize)] {
        &self.arrivals
    }

    pub(super) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.shape.warm_up)
    }

    /// The body of arrival `at`.
    pub(super) fn body(&self, at: usize) -> String {
        let prefix = &self.prefixes[self.arrivals[at].1];
        let bytes = (f64::from(self.shape.question_tokens) * self.bytes_per_token) as usize;
        let question = prose(self.seed << 32 | 1 << 31 | at as u64, bytes);
        json!({
            "model": MODEL,
            "messages": [{"role": "system", "content": prefix}, {"role": "user", "content": question}],
            "max_tokens": self.shape.output_tokens,
            "ignore_eos": true,
            "stream": true,
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(seed: u64) -> Workload {
        let shape = Shape {
            rate: 50.0,
            seconds: 15.0,
            warm_up: 5.0,
            prefix_tokens: 2_800,
            share: 0.7,
            question_tokens: 60,
            output_tokens: 32,
        };
        Workload::new(&shape, 256_000, 0.17, seed)
    }

    #[test]
    fn a_seed_is_one_workload() {
        let (one, same, other) = (workload(1), workload(1), workload(2));
        assert_eq!(one.arrivals, same.arrivals);
        assert_eq!(one.body(3), same.body(3));
        assert_ne!(one.arrivals, other.arrivals);
        assert_ne!(one.prefixes[0], other.prefixes[0]);
    }

    #[test]
    fn rate_and_share_are_those_asked_for() {
        let one = workload(1);
        assert!((900..1_100).contains(&one.arrivals.len()), "{}", one.arrivals.len());
        assert!((one.share_of_cache() - 0.7).abs() < 0.01);
        assert!(one.arrivals.is_sorted());
        assert!(one.arrivals.iter().any(|&(_, prefix)| prefix == one.prefixes() - 1), "every prefix is asked for");
    }
}
