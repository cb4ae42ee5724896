//! Which families hold which numbers, for one kind of model server.

use weir_pool::Scrape;

use crate::{FamilySpec, scan::Scanner};

/// Where one kind of model server puts its numbers; `None` where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineMapping {
    /// Name, as in an endpoint's engine label.
    pub name: String,
    /// Path of the page, if the configuration names none; `None` is `/metrics`.
    pub path: Option<String>,
    /// Requests in the queue.
    pub queued: Option<FamilySpec>,
    /// Requests in the batch.
    pub running: Option<FamilySpec>,
    /// Used share of the KV cache, 0 to 1.
    pub kv_usage: Option<FamilySpec>,
    /// Adapters: labels `running_lora_adapters`, `waiting_lora_adapters` and `max_lora`; the value tells which series is newest.
    pub lora: Option<FamilySpec>,
    /// A family whose labels describe the KV cache.
    pub cache_info: Option<FamilySpec>,
    /// Label of `cache_info` with the tokens in one block.
    pub cache_block_size_label: Option<String>,
    /// Label of `cache_info` with the number of blocks.
    pub cache_num_blocks_label: Option<String>,
    /// Tokens in one block, as a number of its own.
    pub cache_block_size: Option<FamilySpec>,
    /// Number of blocks, as a number of its own.
    pub cache_num_blocks: Option<FamilySpec>,
    /// Further numbers by name, at most 32.
    pub custom: Vec<(String, FamilySpec)>,
}

impl EngineMapping {
    /// The kinds that are known without configuration. The more specific of two kinds whose pages look alike comes first.
    pub fn built_in() -> Vec<Self> {
        let plain = |family| Some(FamilySpec::plain(family));
        let labelled = |family, label, value| Some(FamilySpec::labelled(family, label, value));
        let own = |text: &str| Some(text.to_owned());
        let kv_blocks = |kind| labelled("nv_trt_llm_kv_cache_block_metrics", "kv_cache_block_type", kind);
        vec![
            Self {
                name: "vllm".to_owned(),
                queued: plain("vllm:num_requests_waiting"),
                running: plain("vllm:num_requests_running"),
                kv_usage: plain("vllm:kv_cache_usage_perc"),
                lora: plain("vllm:lora_requests_info"),
                cache_info: plain("vllm:cache_config_info"),
                cache_block_size_label: own("block_size"),
                cache_num_blocks_label: own("num_gpu_blocks"),
                ..Self::default()
            },
            Self {
                name: "sglang".to_owned(),
                queued: plain("sglang:num_queue_reqs"),
                running: plain("sglang:num_running_reqs"),
                kv_usage: plain("sglang:token_usage"),
                cache_info: plain("sglang:cache_config_info"),
                cache_block_size_label: own("page_size"),
                cache_num_blocks_label: own("num_pages"),
                ..Self::default()
            },
            Self {
                name: "trtllm-serve".to_owned(),
                path: own("/prometheus/metrics"),
                queued: plain("trtllm_num_requests_waiting"),
                running: plain("trtllm_num_requests_running"),
                kv_usage: plain("trtllm_kv_cache_utilization"),
                cache_block_size: plain("trtllm_kv_cache_tokens_per_block"),
                cache_num_blocks: plain("trtllm_kv_cache_max_blocks"),
                ..Self::default()
            },
            Self {
                name: "triton-tensorrt-llm".to_owned(),
                queued: labelled("nv_trt_llm_request_metrics", "request_type", "waiting"),
                running: labelled("nv_trt_llm_request_metrics", "request_type", "scheduled"),
                kv_usage: kv_blocks("fraction"),
                cache_block_size: kv_blocks("tokens_per"),
                cache_num_blocks: kv_blocks("max"),
                ..Self::default()
            },
            Self {
                name: "triton".to_owned(),
                queued: plain("nv_inference_pending_request_count"),
                running: plain("nv_inference_exec_count"),
                ..Self::default()
            },
        ]
    }
}

/// An [`EngineMapping`], ready to decode pages.
#[derive(Debug)]
pub struct Engine {
    mapping: EngineMapping,
    scanner: Scanner,
}

impl Engine {
    /// Prepares a mapping.
    pub fn new(mapping: EngineMapping) -> Self {
        let scanner = Scanner::new(&mapping);
        Self { mapping, scanner }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.mapping.name
    }

    /// What it decodes.
    pub fn mapping(&self) -> &EngineMapping {
        &self.mapping
    }

    /// Decodes one page in Prometheus text format. Anything unreadable is passed over. Of several series that match, the one with the
    /// newest explicit timestamp counts, else the first; of several adapter series the one with the highest value. Declared types do
    /// not matter.
    pub fn decode(&self, page: &[u8]) -> Scrape {
        self.scanner.scan(page)
    }
}

/// Whether a page had every family that the mapping names. Adapters may be missing: an engine without any lists none.
pub(crate) fn is_complete(mapping: &EngineMapping, scrape: &Scrape) -> bool {
    let info = mapping.cache_info.is_some();
    let block_size = mapping.cache_block_size.is_some() || (info && mapping.cache_block_size_label.is_some());
    let num_blocks = mapping.cache_num_blocks.is_some() || (info && mapping.cache_num_blocks_label.is_some());
    [
        (mapping.queued.is_some(), scrape.waiting.is_some()),
        (mapping.running.is_some(), scrape.running.is_some()),
        (mapping.kv_usage.is_some(), scrape.kv_usage.is_some()),
        (block_size, scrape.block_size_tokens.is_some()),
        (num_blocks, scrape.num_blocks.is_some()),
    ]
    .into_iter()
    .all(|(wanted, found)| found || !wanted)
}

/// Whether a page had any number that routing uses.
pub(crate) fn has_load(scrape: &Scrape) -> bool {
    scrape.waiting.is_some() || scrape.running.is_some() || scrape.kv_usage.is_some()
}
