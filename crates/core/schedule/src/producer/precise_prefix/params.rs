//! Parameters of the exact prefix index.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{KvEventSink, KvEventSource, PluginContext};
use weir_prefix::{HashAlgorithm, KeyHasher, Tier, Tiers};

/// Blocks, index and events.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Params {
    /// What counts for endpoints whose engines say nothing, and for prompts that are not tokenized exactly.
    pub(super) mode: Mode,
    /// How prompts are cut into blocks and hashed.
    token_processor_config: TokenProcessor,
    /// Where the index lies.
    indexer_config: Indexer,
    /// Where events come from.
    kv_events_config: KvEvents,
    /// Whether a decision counts as an event until the real ones come.
    speculative_indexing: bool,
    /// How long it counts; 0 and less: 2s.
    #[serde(rename = "speculativeTTL")]
    speculative_ttl: GoDuration,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            token_processor_config: TokenProcessor::default(),
            indexer_config: Indexer::default(),
            kv_events_config: KvEvents::default(),
            speculative_indexing: false,
            speculative_ttl: GoDuration::from_secs(2),
        }
    }
}

/// What counts where events do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// What was sent there, as `approx-prefix-cache-producer` has it. Decisions count as events until these come.
    Auto,
    /// Nothing: only events count.
    Precise,
}

/// How prompts are cut into blocks and hashed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TokenProcessor {
    /// Tokens in a block. Engines may use others; equal ones cost least.
    block_size_tokens: u32,
    /// Deprecated: write `blockSizeTokens`.
    block_size: Option<u32>,
    /// Seed of the hashes: any text. Engines need not have the same.
    hash_seed: String,
    /// How blocks are hashed.
    hash_algorithm: Hashing,
}

impl Default for TokenProcessor {
    fn default() -> Self {
        Self {
            block_size_tokens: DEFAULT_BLOCK_TOKENS,
            block_size: None,
            hash_seed: String::new(),
            hash_algorithm: Hashing::CborFnv,
        }
    }
}

/// How blocks are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Hashing {
    /// FNV over CBOR.
    #[serde(alias = "")]
    CborFnv,
    /// xxHash of 64 bits.
    #[serde(alias = "xxhash")]
    Xxh64,
}

/// Where the index lies.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Indexer {
    /// The index of blocks. Of several kinds the first of `costAwareMemoryConfig`, `redisConfig`, `inMemoryConfig` counts.
    kv_block_index_config: BlockIndex,
    /// Weights of the places that hold blocks. Default: gpu 1.0, cpu 0.8.
    kv_cache_backend_configs: Option<Vec<Backend>>,
    /// Ignored by the old scorer, which alone takes it.
    tokenizers_pool_config: Option<serde_json::Value>,
}

/// The index of blocks.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct BlockIndex {
    /// In this process, by number of blocks.
    in_memory_config: Option<InMemory>,
    /// In a Redis or Valkey server.
    redis_config: Option<Redis>,
    /// In this process, by memory.
    cost_aware_memory_config: Option<CostAware>,
    /// Ignored: sizes of the index are always among the metrics.
    enable_metrics: bool,
    /// Ignored: metrics are not logged.
    metrics_logging_interval: u64,
}

/// In this process, by number of blocks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct InMemory {
    /// Blocks.
    size: u64,
    /// Ignored: all holders of a block are remembered.
    pod_cache_size: u64,
}

impl Default for InMemory {
    fn default() -> Self {
        Self { size: 100_000_000, pod_cache_size: 10 }
    }
}

/// In a Redis or Valkey server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Redis {
    /// Its address. Not yet active: the index is kept in this process.
    address: String,
}

/// In this process, by memory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CostAware {
    /// Memory, as in `2GiB`.
    size: String,
}

impl Default for CostAware {
    fn default() -> Self {
        Self { size: "2GiB".to_owned() }
    }
}

/// A place that holds blocks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Backend {
    /// Its name in events.
    name: String,
    /// What a block there is worth, 1 being a block on the GPU.
    weight: f64,
}

/// Where events come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct KvEvents {
    /// Address that engines connect to; empty: they are connected to.
    zmq_endpoint: String,
    /// Beginning of the topics that are followed.
    topic_filter: String,
    /// Ignored: each endpoint's events are read by a task of their own.
    concurrency: u32,
    /// `vllm` or `sglang`; empty: as the endpoint says.
    engine_type: String,
    /// Whether endpoints are connected to as they come.
    discover_pods: bool,
    /// How endpoints are connected to.
    pod_discovery_config: PodDiscovery,
}

impl Default for KvEvents {
    fn default() -> Self {
        Self {
            zmq_endpoint: String::new(),
            topic_filter: "kv@".to_owned(),
            concurrency: 4,
            engine_type: "vllm".to_owned(),
            discover_pods: true,
            pod_discovery_config: PodDiscovery::default(),
        }
    }
}

/// How endpoints are connected to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct PodDiscovery {
    /// Ignored: all endpoints of the pool are connected to.
    pod_label_selector: String,
    /// Ignored: the pool says which endpoints there are.
    pod_namespace: String,
    /// Port of the events; ranks follow it.
    socket_port: u16,
    /// Port of past events; 0: there is none.
    replay_socket_port: u16,
}

impl Default for PodDiscovery {
    fn default() -> Self {
        Self {
            pod_label_selector: "llm-d.ai/inference-serving=true".to_owned(),
            pod_namespace: String::new(),
            socket_port: 5_557,
            replay_socket_port: 0,
        }
    }
}

impl Params {
    pub(super) fn check(&self, context: &mut PluginContext<'_>, superseded: bool) -> Result<(), Diagnostic> {
        let Self { token_processor_config: tokens, indexer_config: indexer, kv_events_config: events, .. } = self;
        if tokens.block_size.is_some() {
            context.warn("`tokenProcessorConfig.blockSize` is deprecated; write `blockSizeTokens`");
        }
        if tokens.block_size_tokens == 0 {
            return Err(context.error_at("tokenProcessorConfig.blockSizeTokens", "must be above 0"));
        }
        if indexer.tokenizers_pool_config.is_some() && !superseded {
            return Err(
                context.error_at("indexerConfig.tokenizersPoolConfig", "is gone: prompts are tokenized by `token-producer`")
            );
        }
        if let Some(redis) = &indexer.kv_block_index_config.redis_config
            && redis.address.is_empty()
        {
            return Err(context.error_at("indexerConfig.kvBlockIndexConfig.redisConfig.address", "must not be empty"));
        }
        if let Some(memory) = &indexer.kv_block_index_config.in_memory_config
            && (memory.size == 0 || memory.pod_cache_size == 0)
        {
            return Err(
                context.error_at("indexerConfig.kvBlockIndexConfig.inMemoryConfig", "size and podCacheSize must be above 0")
            );
        }
        if let Some(memory) = &indexer.kv_block_index_config.cost_aware_memory_config
            && bytes(&memory.size).is_none_or(|size| size == 0)
        {
            let message = format!("`{}` is no size such as 2GiB", memory.size);
            return Err(context.error_at("indexerConfig.kvBlockIndexConfig.costAwareMemoryConfig.size", message));
        }
        if indexer.kv_block_index_config.redis_config.is_some()
            && indexer.kv_block_index_config.cost_aware_memory_config.is_none()
        {
            context.warn("an index in Redis is not yet active: the index is kept in this process");
        }
        for backend in indexer.kv_cache_backend_configs.iter().flatten() {
            if backend.name.is_empty() || !backend.weight.is_finite() || backend.weight < 0.0 {
                return Err(context.error_at("indexerConfig.kvCacheBackendConfigs", "needs names, and weights of 0 or more"));
            }
        }
        if !["vllm", "sglang", ""].contains(&events.engine_type.as_str()) {
            let error = context.error_at("kvEventsConfig.engineType", format!("`{}` publishes no events", events.engine_type));
            return Err(error.with_nearest(&events.engine_type, ["vllm", "sglang"]));
        }
        if events.concurrency == 0 {
            return Err(context.error_at("kvEventsConfig.concurrency", "must be above 0"));
        }
        Ok(())
    }

    /// Names blocks.
    pub(super) fn hasher(&self) -> KeyHasher {
        let algorithm = match self.token_processor_config.hash_algorithm {
            Hashing::CborFnv => HashAlgorithm::CborFnv,
            Hashing::Xxh64 => HashAlgorithm::Xxh64,
        };
        KeyHasher::new(algorithm, &self.token_processor_config.hash_seed)
    }

    /// Tokens in a block; the older name counts only where the newer one says nothing.
    pub(super) fn block_tokens(&self) -> u32 {
        let tokens = &self.token_processor_config;
        match tokens.block_size {
            Some(size) if tokens.block_size_tokens == DEFAULT_BLOCK_TOKENS && size > 0 => size,
            _ => tokens.block_size_tokens,
        }
    }

    /// Memory of the index.
    pub(super) fn limit_bytes(&self) -> usize {
        let index = &self.indexer_config.kv_block_index_config;
        let from_memory = index.cost_aware_memory_config.as_ref().and_then(|one| bytes(&one.size));
        // llm-d counts blocks there; what a block takes here with a holder or two is known.
        let from_blocks = || index.in_memory_config.as_ref().map(|one| one.size.saturating_mul(BLOCK_BYTES));
        let bytes = from_memory.or_else(from_blocks).unwrap_or(DEFAULT_BYTES).min(MOST_BYTES);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Sets of tiers, best first, each with what a block on one of them, and on none of a better one, is worth.
    pub(super) fn tiers(&self) -> Vec<(Tiers, f64)> {
        let given = |tier: Tier| {
            let listed = self.indexer_config.kv_cache_backend_configs.iter().flatten();
            listed.filter(|one| Tier::of_medium(Some(&one.name)) == tier).map(|one| one.weight).next_back()
        };
        let worth = |tier: Tier| {
            given(tier).unwrap_or(match tier {
                Tier::Cpu => 0.8,
                Tier::Disk => 0.5,
                Tier::Shared | Tier::Other => 0.4,
                _ => 1.0,
            })
        };
        let mut order: Vec<(Tier, f64)> = Tier::ALL.into_iter().map(|tier| (tier, worth(tier))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut set = Tiers::NONE;
        order
            .into_iter()
            .map(|(tier, worth)| {
                set = set.with(tier);
                (set, worth)
            })
            .collect()
    }

    /// How long a decision counts as an event; `None`: it does not.
    pub(super) fn speculative(&self) -> Option<Duration> {
        let time = Some(Duration::from(self.speculative_ttl)).filter(|time| !time.is_zero());
        (self.speculative_indexing || self.mode == Mode::Auto).then(|| time.unwrap_or(DEFAULT_TTL))
    }

    /// Where events come from.
    pub(super) fn source(&self, sink: Arc<dyn KvEventSink>) -> KvEventSource {
        let events = &self.kv_events_config;
        let pods = &events.pod_discovery_config;
        KvEventSource {
            zmq_endpoint: events.zmq_endpoint.clone(),
            topic_filter: events.topic_filter.clone(),
            discover: events.discover_pods,
            socket_port: pods.socket_port,
            replay_port: Some(pods.replay_socket_port).filter(|port| *port > 0),
            sink,
        }
    }
}

/// Tokens in a block if nothing is said.
const DEFAULT_BLOCK_TOKENS: u32 = 16;
/// How long a decision counts if nothing is said.
const DEFAULT_TTL: Duration = Duration::from_secs(2);
/// Memory of the index if nothing is said.
const DEFAULT_BYTES: u64 = 2 << 30;
/// Memory of the index whatever is said: counts of llm-d's defaults come to more than machines have.
const MOST_BYTES: u64 = 8 << 30;
/// Memory of a block with its engines' names.
const BLOCK_BYTES: u64 = 96;

/// `2GiB`, `500MB`, `1024`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1_000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "tb" | "t" => 1_000_000_000_000,
        "kib" | "ki" => 1 << 10,
        "mib" | "mi" => 1 << 20,
        "gib" | "gi" => 1 << 30,
        "tib" | "ti" => 1 << 40,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some((number * unit as f64) as u64)
}
