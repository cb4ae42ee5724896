//! `precise-prefix-cache-producer` and `precise-prefix-cache-scorer`: parameters of the exact prefix index, which is not yet active: it
//! finds nothing.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{
    DataKey, DataSet, Draft, ExtensionPoint, Need, Parts, Payload, PluginContext, PluginType, PoolView, RequestView, Scorer,
};

use crate::declare::beta;

pub(super) fn plugins() -> [PluginType; 2] {
    [
        PluginType {
            active: false,
            ..beta::<Params>(
                "precise-prefix-cache-producer",
                &[ExtensionPoint::DataProducer, ExtensionPoint::PreRequest, ExtensionPoint::Extractor],
                "Follows engines' KV-cache events, and tells how much of a prompt's beginning each endpoint holds.",
                |context| {
                    let params: Params = context.params()?;
                    params.check(context, false)?;
                    let needs = vec![Need::required(DataKey::TokenizedPrompt, None)];
                    let draft = Draft::wired(needs, vec![DataKey::PrefixCacheMatchInfo], |_| Ok(Parts::default()));
                    Ok(draft.taking(&[Payload::EndpointEvents]))
                },
            )
        },
        PluginType {
            active: false,
            ..beta::<Params>(
                "precise-prefix-cache-scorer",
                &[ExtensionPoint::Scorer],
                "Producer and scorer in one. Superseded: use `precise-prefix-cache-producer` and `prefix-cache-scorer`.",
                |context| {
                    let params: Params = context.params()?;
                    params.check(context, true)?;
                    context.warn(
                        "plugin type `precise-prefix-cache-scorer` is superseded; write `precise-prefix-cache-producer` and \
                         `prefix-cache-scorer` with `prefixMatchInfoProducerName`",
                    );
                    Ok(Draft::ready(Parts { scorer: Some(Arc::new(Nothing)), ..Parts::default() }))
                },
            )
        },
    ]
}

/// Scores 0.
struct Nothing;

impl Scorer for Nothing {
    fn reads(&self) -> DataSet {
        DataSet::NONE
    }

    fn score(&self, _: &RequestView<'_>, _: &PoolView<'_>, _: &mut [f64]) {}
}

/// Blocks, index and events.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
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
            token_processor_config: TokenProcessor::default(),
            indexer_config: Indexer::default(),
            kv_events_config: KvEvents::default(),
            speculative_indexing: false,
            speculative_ttl: GoDuration::from_secs(2),
        }
    }
}

/// How prompts are cut into blocks and hashed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TokenProcessor {
    /// Tokens in a block, as the engines are set.
    block_size_tokens: u32,
    /// Deprecated: write `blockSizeTokens`.
    block_size: Option<u32>,
    /// Seed of the hashes, as the engines' `PYTHONHASHSEED`.
    hash_seed: String,
    /// How blocks are hashed.
    hash_algorithm: HashAlgorithm,
}

impl Default for TokenProcessor {
    fn default() -> Self {
        Self { block_size_tokens: 16, block_size: None, hash_seed: String::new(), hash_algorithm: HashAlgorithm::CborFnv }
    }
}

/// How blocks are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum HashAlgorithm {
    /// FNV over CBOR.
    CborFnv,
    /// xxHash of 64 bits.
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
    /// Only the old scorer takes it, and ignores it.
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
    /// Whether metrics of the index are kept.
    enable_metrics: bool,
    /// Nanoseconds between log lines of these metrics; 0: none.
    metrics_logging_interval: u64,
}

/// In this process, by number of blocks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct InMemory {
    /// Blocks.
    size: u64,
    /// Holders remembered of a block.
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
    /// Its address.
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
    /// Workers that decode events.
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
    /// Labels of endpoints that publish events.
    pod_label_selector: String,
    /// Their namespace; empty: the pool's.
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
    fn check(&self, context: &mut PluginContext<'_>, superseded: bool) -> Result<(), Diagnostic> {
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
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const PRODUCER: &str = "precise-prefix-cache-producer";

    #[test]
    fn it_finds_nothing_yet_and_says_so() {
        let scorer = format!("{{type: prefix-cache-scorer, parameters: {{prefixMatchInfoProducerName: {PRODUCER}}}}}");
        let plan = compile(&format!("plugins: [{{type: {PRODUCER}}}, {scorer}]")).unwrap();
        assert!(plan.inactive().any(|one| one == format!("{PRODUCER}/{PRODUCER}")));
        let mut fixture = Fixture::new(2);
        fixture.chat("hello");
        fixture.produce(&plan);
        fixture.picked(&plan, 0);
        assert_eq!(fixture.score_with(&plan), [0.0, 0.0]);
        let old = compile(
            "plugins: [{type: precise-prefix-cache-scorer, parameters: {indexerConfig: {tokenizersPoolConfig: {a: 1}}}}]",
        );
        let old = old.unwrap();
        assert_eq!(fixture.score_with(&old), [0.0, 0.0]);
        assert!(old.warnings.iter().any(|one| one.message.contains("superseded")));
    }

    #[test]
    fn parameters_that_are_refused() {
        for (parameters, why) in [
            ("{tokenProcessorConfig: {blockSizeTokens: 0}}", "above 0"),
            ("{tokenProcessorConfig: {hashAlgorithm: md5}}", "md5"),
            ("{indexerConfig: {tokenizersPoolConfig: {}}}", "token-producer"),
            ("{indexerConfig: {kvBlockIndexConfig: {redisConfig: {}}}}", "must not be empty"),
            ("{indexerConfig: {kvBlockIndexConfig: {inMemoryConfig: {size: 0}}}}", "above 0"),
            ("{indexerConfig: {kvCacheBackendConfigs: [{name: gpu, weight: -1}]}}", "0 or more"),
            ("{kvEventsConfig: {engineType: vlm}}", "did you mean `vllm`"),
            ("{kvEventsConfig: {concurrency: 0}}", "above 0"),
            ("{speculativeTTL: soon}", "soon"),
        ] {
            assert!(refused(PRODUCER, parameters).contains(why), "{parameters}: {}", refused(PRODUCER, parameters));
        }
    }
}
