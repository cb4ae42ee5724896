//! The shape of a worker.

use crate::latency::{LatencyModel, StepModel};

/// A paged KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvConfig {
    /// Blocks, at least 1.
    pub blocks: u32,
    /// Tokens a block, at least 1.
    pub block_size: u32,
    /// Whether blocks of earlier requests may be reused.
    pub prefix_caching: bool,
}

/// A worker. Zeroes where at least 1 is needed count as 1.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Sequences that run at once.
    pub max_num_seqs: u32,
    /// Requests that may wait beyond the free places.
    pub max_waiting: u32,
    /// Context window: prompt plus output, tokens.
    pub max_model_len: u32,
    /// Distinct adapters that run at once.
    pub max_loras: u32,
    /// `None`: memory is not modelled, nothing is ever cached.
    pub kv: Option<KvConfig>,
    /// How long things take.
    pub latency: LatencyModel,
}

impl EngineConfig {
    /// Llama-3.1-8B in FP16 on one H100-80GB under vLLM's defaults: [`StepModel::H100_LLAMA_8B`] and the blocks of 16 tokens
    /// (128 KiB a token) that fit beside 15 GiB of weights and 4 GiB of activations at 90 % memory use.
    pub fn h100_llama_8b() -> Self {
        Self {
            max_num_seqs: 256,
            max_waiting: 10_000,
            max_model_len: 131_072,
            max_loras: 4,
            kv: Some(KvConfig { blocks: 27_000, block_size: 16, prefix_caching: true }),
            latency: LatencyModel::Step(StepModel::H100_LLAMA_8B),
        }
    }
}
