//! What a simulated worker is.

use std::time::Duration;

use weir_engine::{Delays, EngineConfig, KvConfig, LatencyModel};

use crate::events::KvEventsConfig;

/// How answers are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Sentences of a random length.
    #[default]
    Random,
    /// The prompt, or the last message of a chat.
    Echo,
}

/// An adapter that is there from the start.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct LoraModule {
    /// The model name that requests use.
    pub name: String,
    /// Where it would be loaded from.
    #[serde(default)]
    pub path: String,
    /// The model it adapts, if said.
    #[serde(default)]
    pub base_model_name: String,
}

/// Errors that are injected at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// 429.
    RateLimit,
    /// 401.
    InvalidApiKey,
    /// 400 about the context length.
    ContextLength,
    /// 503.
    ServerError,
    /// 400 about a missing parameter.
    InvalidRequest,
    /// 404.
    ModelNotFound,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::RateLimit, Self::InvalidApiKey, Self::ContextLength, Self::ServerError, Self::InvalidRequest, Self::ModelNotFound];

    /// The name used in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::InvalidApiKey => "invalid_api_key",
            Self::ContextLength => "context_length",
            Self::ServerError => "server_error",
            Self::InvalidRequest => "invalid_request",
            Self::ModelNotFound => "model_not_found",
        }
    }
}

/// Who answers: sent as `x-inference-pod` (with `x-inference-port`) and `x-inference-namespace`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// `POD_NAME`.
    pub name: Option<String>,
    /// `POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `POD_IP`: under which KV-cache events are published.
    pub ip: Option<String>,
}

/// One worker. [`SimConfig::new`] has llm-d's defaults, [`SimConfig::default_profile`] a real GPU's.
#[derive(Debug, Clone, PartialEq)]
pub struct SimConfig {
    /// The model.
    pub model: String,
    /// Its aliases; the first is shown in answers and metrics. Empty: the model itself.
    pub served_names: Vec<String>,
    /// Seeds lengths, texts and latencies.
    pub seed: u64,
    /// How answers are made.
    pub mode: Mode,
    /// Sequences that run at once.
    pub max_num_seqs: u32,
    /// Requests that may wait.
    pub max_waiting: u32,
    /// Context window, tokens.
    pub max_model_len: u32,
    /// Largest request body.
    pub max_body_bytes: usize,
    /// Adapters that run at once.
    pub max_loras: u32,
    /// Adapters loaded at the start.
    pub lora_modules: Vec<LoraModule>,
    /// How long things take.
    pub latency: LatencyModel,
    /// Whether the KV cache is modelled.
    pub enable_kv_cache: bool,
    /// Blocks of the KV cache.
    pub kv_blocks: u32,
    /// Tokens a block.
    pub block_size: u32,
    /// Whether cached blocks are reused.
    pub prefix_caching: bool,
    /// Seed of the block hashes.
    pub hash_seed: String,
    /// Percentage of requests that fail.
    pub failure_percent: u8,
    /// How they fail; empty: any way.
    pub failure_kinds: Vec<FailureKind>,
    /// `/health/ready` answers 503 for so long.
    pub startup: Duration,
    /// Whether `X-Request-Id` is taken over and sent back.
    pub request_id_headers: bool,
    /// Length of embeddings that do not ask for one.
    pub embedding_dimensions: u32,
    /// The metrics page is filled up to this size with series as a real server has them.
    pub metrics_padding_bytes: usize,
    /// Value of the label `engine`.
    pub engine_index: u32,
    /// Who answers.
    pub pod: Pod,
    /// Where to say what happens to the KV cache; `None`: nowhere.
    pub kv_events: Option<KvEventsConfig>,
}

impl SimConfig {
    /// llm-d's defaults: no latency, no cache, five sequences, a context of 1024 tokens.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            served_names: Vec::new(),
            seed: 0,
            mode: Mode::Random,
            max_num_seqs: 5,
            max_waiting: 1000,
            max_model_len: 1024,
            max_body_bytes: 4 << 20,
            max_loras: 1,
            lora_modules: Vec::new(),
            latency: LatencyModel::Delays(Delays::default()),
            enable_kv_cache: false,
            kv_blocks: 1024,
            block_size: 16,
            prefix_caching: true,
            hash_seed: String::new(),
            failure_percent: 0,
            failure_kinds: Vec::new(),
            startup: Duration::ZERO,
            request_id_headers: false,
            embedding_dimensions: 384,
            metrics_padding_bytes: 0,
            engine_index: 0,
            pod: Pod::default(),
            kv_events: None,
        }
    }

    /// Llama-3.1-8B on one H100 ([`EngineConfig::h100_llama_8b`]), under whatever name.
    pub fn default_profile(model: impl Into<String>) -> Self {
        let engine = EngineConfig::h100_llama_8b();
        let kv = engine.kv.unwrap_or(KvConfig { blocks: 27_000, block_size: 16, prefix_caching: true });
        Self {
            max_num_seqs: engine.max_num_seqs,
            max_waiting: engine.max_waiting,
            max_model_len: engine.max_model_len,
            max_loras: engine.max_loras,
            max_body_bytes: 64 << 20,
            latency: engine.latency,
            enable_kv_cache: true,
            kv_blocks: kv.blocks,
            block_size: kv.block_size,
            prefix_caching: kv.prefix_caching,
            ..Self::new(model)
        }
    }

    /// The same with another cache and batch.
    #[must_use]
    pub fn sized(self, kv_blocks: u32, block_size: u32, max_num_seqs: u32) -> Self {
        Self { enable_kv_cache: true, kv_blocks, block_size, max_num_seqs, ..self }
    }

    /// The name shown in answers and metrics.
    pub fn display_name(&self) -> &str {
        self.served_names.first().unwrap_or(&self.model)
    }

    pub(crate) fn names(&self) -> &[String] {
        if self.served_names.is_empty() { std::slice::from_ref(&self.model) } else { &self.served_names }
    }

    pub(crate) fn engine(&self) -> EngineConfig {
        let kv = KvConfig { blocks: self.kv_blocks, block_size: self.block_size, prefix_caching: self.prefix_caching };
        EngineConfig {
            max_num_seqs: self.max_num_seqs,
            max_waiting: self.max_waiting,
            max_model_len: self.max_model_len,
            max_loras: self.max_loras,
            kv: self.enable_kv_cache.then_some(kv),
            latency: self.latency,
        }
    }

    /// Checks what the types do not say.
    ///
    /// # Errors
    /// The first value that is out of bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let bad = |message: String| Err(ConfigError::Invalid(message));
        if self.model.is_empty() {
            return Err(ConfigError::NoModel);
        }
        for (name, value) in [
            ("max-num-seqs", self.max_num_seqs),
            ("max-waiting-queue-length", self.max_waiting),
            ("max-model-len", self.max_model_len),
            ("max-loras", self.max_loras),
            ("kv-cache-size", self.kv_blocks),
            ("default-embedding-dimensions", self.embedding_dimensions),
        ] {
            if value == 0 {
                return bad(format!("{name} must be at least 1"));
            }
        }
        if ![8, 16, 32, 64, 128].contains(&self.block_size) {
            return bad(format!("block-size {} must be one of 8, 16, 32, 64, 128", self.block_size));
        }
        if self.failure_percent > 100 {
            return bad(format!("failure-injection-rate {} must be between 0 and 100", self.failure_percent));
        }
        if self.metrics_padding_bytes > 64 << 20 {
            return bad("metrics-padding-bytes must be at most 64 MiB".to_owned());
        }
        for module in &self.lora_modules {
            if module.name.is_empty() {
                return bad("a LoRA module needs a name".to_owned());
            }
            if !module.base_model_name.is_empty() && module.base_model_name != self.model {
                return bad(format!("LoRA module {}: base_model_name must be {}", module.name, self.model));
            }
        }
        if let LatencyModel::Delays(delays) = &self.latency {
            for (name, spread) in [
                ("time-to-first-token", delays.ttft),
                ("inter-token-latency", delays.itl),
                ("kv-cache-transfer-latency", delays.transfer),
            ] {
                if u128::from(spread.std_ns) * 10 > u128::from(spread.mean_ns) * 3 {
                    return bad(format!("{name}-std-dev must not be more than 30 % of {name}"));
                }
            }
            if !(delays.factor_under_load >= 1.0 && delays.factor_under_load.is_finite()) {
                return bad("time-factor-under-load must be at least 1.0".to_owned());
            }
        }
        Ok(())
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No model was named.
    #[error("model parameter is empty\nhelp: weir sim --model NAME")]
    NoModel,
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A flag whose value cannot be read.
    #[error("--{flag}: {message}")]
    Flag {
        /// Without dashes.
        flag: String,
        /// What is wrong.
        message: String,
    },
    /// The file of `--config`.
    #[error("{path}: {message}")]
    File {
        /// As given.
        path: String,
        /// What is wrong, with line and column where known.
        message: String,
    },
}
