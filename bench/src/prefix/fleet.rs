//! The simulated workers: one `weir sim` process, asked directly for what only they know.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde::Serialize;

use crate::{
    Result,
    bodies::{MODEL, prose},
    process::{OTHER_CORE, Process, ask, free_ports},
};

const BLOCK_TOKENS: u32 = 16;

#[derive(Clone, Debug, Serialize, clap::Args)]
pub(crate) struct Shape {
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,
    /// KV cache of each worker, in blocks of 16 tokens.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) blocks: u32,
    /// What `weir sim` is told besides, separated by blanks: how long things take.
    #[arg(long, default_value = "--profile h100-llama-8b", allow_hyphen_values = true)]
    pub(crate) sim_args: String,
}

pub(super) struct Fleet {
    _process: Process,
    endpoints: Vec<SocketAddr>,
    cache_tokens: u64,
}

/// Prompt tokens over all workers since they started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct CacheCounters {
    pub(super) queries: f64,
    pub(super) hits: f64,
}

impl Fleet {
    pub(super) async fn start(weir: &Path, shape: &Shape, limit: Duration) -> Result<Self> {
        let first = free_ports(shape.workers)?;
        let endpoints: Vec<_> = (first..first + shape.workers).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        // First, so that a profile does not undo what follows.
        let mut arguments: Vec<String> = vec!["sim".to_owned()];
        arguments.extend(shape.sim_args.split_ascii_whitespace().map(str::to_owned));
        for (flag, value) in [
            ("--model", MODEL.to_owned()),
            ("--port", first.to_string()),
            ("--count", shape.workers.to_string()),
            ("--kv-cache-size", shape.blocks.to_string()),
            ("--block-size", BLOCK_TOKENS.to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.push("--enable-kvcache".to_owned());
        let log = std::env::temp_dir().join(format!("weir-bench-sim-{}.log", std::process::id()));
        let mut process = Process::start("weir sim", OTHER_CORE, weir.as_os_str(), &arguments, &log)
            .map_err(|error| format!("{error} (log: {})", log.display()))?;
        for &endpoint in &endpoints {
            process
                .wait_ready(endpoint, "/health", "", limit)
                .await
                .map_err(|error| format!("{error} (log: {})", log.display()))?;
        }
        let cache_tokens = u64::from(shape.workers) * u64::from(shape.blocks) * u64::from(BLOCK_TOKENS);
        Ok(Self { _process: process, endpoints, cache_tokens })
    }

    pub(super) fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    pub(super) fn cache_tokens(&self) -> u64 {
        self.cache_tokens
    }

    /// How many tokens the workers see in a byte of [`prose`]: the difference between two prompts, so that
    /// what the chat template adds does not count.
    pub(super) async fn tokens_per_byte(&self) -> Result<f64> {
        let (short, long) = (1_000, 5_000);
        let tokens = self.prompt_tokens(long).await? - self.prompt_tokens(short).await?;
        let ratio = tokens / (long - short) as f64;
        if ratio > 0.0 { Ok(ratio) } else { Err("the workers count no prompt tokens".into()) }
    }

    async fn prompt_tokens(&self, bytes: usize) -> Result<f64> {
        let messages = serde_json::json!([{"role": "user", "content": prose(7, bytes)}]);
        let body = serde_json::json!({"model": MODEL, "messages": messages, "max_tokens": 1}).to_string();
        let (status, answer) = ask(self.endpoints[0], "/v1/chat/completions", &body).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        answer["usage"]["prompt_tokens"].as_f64().ok_or_else(|| format!("status {status}: {answer}").into())
    }

    pub(super) async fn cache_counters(&self) -> Result<CacheCounters> {
        let mut sum = CacheCounters::default();
        for &endpoint in &self.endpoints {
            let (_, page) = ask(endpoint, "/metrics", "").await?;
            let page = String::from_utf8(page)?;
            sum.queries += family(&page, "vllm:prefix_cache_queries_total").ok_or("no vllm:prefix_cache_queries_total")?;
            sum.hits += family(&page, "vllm:prefix_cache_hits_total").ok_or("no vllm:prefix_cache_hits_total")?;
        }
        Ok(sum)
    }
}

/// The sum over all series of a family; None when there is none.
fn family(page: &str, name: &str) -> Option<f64> {
    let of_series = |line: &str| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).flatten()
    };
    page.lines().filter_map(of_series).reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_family_is_summed_over_its_series_only() {
        let page = "# TYPE a_total counter\na_total{x=\"1 2\"} 3.0\na_total{x=\"2\"} 4e1\na_total_more 7\n";
        assert_eq!(super::family(page, "a_total"), Some(43.0));
        assert_eq!(super::family(page, "a"), None);
    }
}
