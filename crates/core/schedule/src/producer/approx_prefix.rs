//! `approx-prefix-cache-producer`: which endpoints were sent the beginning of this prompt before.

use std::{
    cell::RefCell,
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Attributes, Column, DataKey, DataSet, Draft, ExtensionPoint, Need, Outgoing, Parts, PluginContext, PluginType, PreRequest,
    Producer, PromptStream, RequestView, Targets,
};
use weir_pool::{Endpoint, EndpointEvents, Time};
use weir_prefix::{ApproxIndex, BlockHasher, LookupScratch, chain_seed};

use super::Hashing;
use crate::declare::{alpha, beta};

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "approx-prefix-cache-producer",
        &[ExtensionPoint::DataProducer, ExtensionPoint::PreRequest],
        "Remembers which endpoint was sent which prompt, and tells how much of a new prompt's beginning each one was sent.",
        draft,
    )
}

/// The same over endpoints that are whole clusters.
pub(crate) fn multicluster() -> PluginType {
    alpha::<Params>(
        "multicluster-approx-prefix-cache-producer",
        &[ExtensionPoint::DataProducer, ExtensionPoint::PreRequest],
        "The same as `approx-prefix-cache-producer`, over endpoints that are whole clusters.",
        draft,
    )
}

/// Block size and limits.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Whether block size and capacity are what engines say of their caches, where they say so.
    auto_tune: bool,
    /// Tokens in a block. Less than 64 counts as 64.
    block_size_tokens: u32,
    /// Deprecated and ignored: characters in a block.
    block_size: Option<u32>,
    /// Most tokens of a prompt that are looked at; 0: see `maxPrefixBlocksToMatch`.
    max_prefix_tokens_to_match: u64,
    /// Deprecated: most blocks of a prompt that are looked at, if `maxPrefixTokensToMatch` is 0; 0: no limit.
    max_prefix_blocks_to_match: u64,
    /// Blocks of `blockSizeTokens` that an endpoint's cache holds.
    lru_capacity_per_server: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            auto_tune: true,
            block_size_tokens: 16,
            block_size: None,
            max_prefix_tokens_to_match: 131_072,
            max_prefix_blocks_to_match: 2_048,
            lru_capacity_per_server: 31_250,
        }
    }
}

/// Smaller blocks cost more than they find.
const MIN_BLOCK_TOKENS: u32 = 64;
/// Memory of one index.
const MAX_BYTES: usize = 256 << 20;
/// Prompts of one request that are looked at.
const MAX_PROMPTS: usize = 256;
/// Between searches for endpoints that are gone.
const PURGE_EVERY: Duration = Duration::from_secs(120);

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.block_size.is_some() {
        context.warn("`blockSize` (characters) is deprecated and ignored; write `blockSizeTokens`");
    }
    if params.lru_capacity_per_server == 0 {
        return Err(context.error_at("lruCapacityPerServer", "must be above 0"));
    }
    let need = Need::required(DataKey::TokenizedPrompt, None);
    let tokens_from = need.producer.clone();
    let missing = context.error(format!("`{tokens_from}` produces no tokens"));
    Ok(Draft::wired(vec![need], vec![DataKey::PrefixCacheMatchInfo], move |wiring| {
        let (Some(prompt), Some(column)) = (wiring.prompt_stream(&tokens_from), wiring.own_prefix_column()) else {
            return Err(missing);
        };
        let index = ApproxIndex::new(MAX_BYTES);
        let plugin = Arc::new(ApproxPrefix { params, prompt, column, index, next_purge: AtomicU64::new(0) });
        Ok(Parts {
            producer: Some(plugin.clone()),
            endpoint_events: Some(plugin.clone()),
            pre_request: Some(plugin),
            prefix_column: Some(column),
            ..Parts::default()
        })
    }))
}

struct ApproxPrefix {
    params: Params,
    prompt: Arc<dyn PromptStream>,
    column: Column,
    index: ApproxIndex,
    /// Microseconds.
    next_purge: AtomicU64,
}

#[derive(Default)]
struct Work {
    hasher: BlockHasher,
    lookup: LookupScratch,
    matched: Vec<u32>,
}

thread_local! {
    static WORK: RefCell<Work> = RefCell::default();
}

impl ApproxPrefix {
    /// Tokens in a block: one size for all endpoints, since it goes into the hashes.
    fn block_tokens(&self, endpoints: &[Arc<Endpoint>]) -> u32 {
        let says = |endpoint: &Arc<Endpoint>| Some(endpoint.engine.block_size_tokens()).filter(|tokens| *tokens > 0);
        let tuned = if self.params.auto_tune { endpoints.iter().find_map(says) } else { None };
        tuned.unwrap_or(self.params.block_size_tokens).max(MIN_BLOCK_TOKENS)
    }

    /// Blocks of `block_tokens` that the endpoint's cache holds. What is configured or reported counts smaller blocks if those
    /// are below the minimum; llm-d does not convert, and takes such a cache for larger than it is.
    fn capacity_blocks(&self, endpoint: &Endpoint, block_tokens: u32) -> usize {
        let (blocks, tokens) = (endpoint.engine.num_blocks(), endpoint.engine.block_size_tokens());
        let held = if self.params.auto_tune && blocks > 0 && tokens > 0 {
            u64::from(blocks) * u64::from(tokens)
        } else {
            self.params.lru_capacity_per_server.saturating_mul(self.params.block_size_tokens.max(1).into())
        };
        usize::try_from(held / u64::from(block_tokens.max(1))).unwrap_or(usize::MAX)
    }

    fn max_blocks(&self, block_tokens: u32) -> usize {
        let Params { max_prefix_tokens_to_match: tokens, max_prefix_blocks_to_match: blocks, .. } = self.params;
        let most = match (tokens, blocks) {
            (0, 0) => u64::MAX,
            (0, blocks) => blocks,
            (tokens, _) => tokens / u64::from(block_tokens),
        };
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Forgets endpoints that are gone.
    fn purge(&self, endpoints: &[Arc<Endpoint>], now: Time) {
        let due = self.next_purge.load(Relaxed);
        let next = (now + PURGE_EVERY).as_micros();
        if now.as_micros() >= due && self.next_purge.compare_exchange(due, next, Relaxed, Relaxed).is_ok() {
            let present: HashSet<u32> = endpoints.iter().map(|endpoint| endpoint.serial()).collect();
            self.index.retain_holders(|holder| present.contains(&holder));
        }
    }
}

impl Producer for ApproxPrefix {
    fn reads(&self) -> DataSet {
        if self.params.auto_tune { DataSet::PROMPT | DataSet::CACHE_CONFIG } else { DataSet::PROMPT }
    }

    fn produce(&self, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], out: &mut Attributes) {
        WORK.with_borrow_mut(|Work { hasher, lookup, matched }| {
            let block_tokens = self.block_tokens(endpoints);
            hasher.start(block_tokens, self.max_blocks(block_tokens));
            if !self.prompt.stream(request, &mut Hashing(hasher)) {
                return;
            }
            hasher.finish();
            out.prompt_tokens = Some(hasher.tokens());
            let Some(found) = out.prefix_mut(self.column) else { return };
            let salt = request.scanned.and_then(|scanned| scanned.cache_salt(request.body)).unwrap_or_default();
            hasher.chain(chain_seed(request.model, &salt), &mut found.hashes);
            found.hashes.truncate(hasher.prompts().take(MAX_PROMPTS).last().map_or(0, |prompt| prompt.end));
            found.total_blocks = u32::try_from(found.hashes.len()).unwrap_or(u32::MAX);
            found.block_size_tokens = block_tokens;
            found.matched_blocks.resize(endpoints.len(), 0);
            matched.resize(endpoints.len(), 0);
            for prompt in hasher.prompts().take(MAX_PROMPTS).filter(|prompt| !prompt.is_empty()) {
                let holders = endpoints.iter().map(|endpoint| endpoint.serial());
                self.index.longest(&found.hashes[prompt], holders, matched, lookup);
                found.matched_blocks.iter_mut().zip(matched.iter()).for_each(|(sum, one)| *sum += one);
            }
        });
    }

    fn memory(&self) -> Option<(usize, usize)> {
        let stats = self.index.stats();
        Some((stats.used_bytes, stats.limit_bytes))
    }

    fn entries(&self) -> Option<usize> {
        Some(self.index.len())
    }
}

impl EndpointEvents for ApproxPrefix {
    /// An endpoint that is gone takes its blocks with it at once, and makes room for those of others.
    fn endpoints_changed(&self, _: &[Arc<Endpoint>], removed: &[Arc<Endpoint>]) {
        if !removed.is_empty() {
            let gone: HashSet<u32> = removed.iter().map(|endpoint| endpoint.serial()).collect();
            self.index.retain_holders(|holder| !gone.contains(&holder));
        }
    }
}

impl PreRequest for ApproxPrefix {
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, _: &mut Outgoing) {
        let Some(found) = attributes.prefix(self.column).filter(|found| found.total_blocks > 0) else { return };
        for endpoint in targets.computing().filter_map(|index| targets.endpoints.get(index)) {
            self.index.record(endpoint.serial(), &found.hashes, self.capacity_blocks(endpoint, found.block_size_tokens));
        }
        self.purge(targets.endpoints, request.now);
    }
}

#[cfg(test)]
mod tests;
